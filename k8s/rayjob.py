"""A RayJob as an object: made of the chart's template, and what is to be said of one. Pure."""

import hashlib
import json
import re

from data_pipeline.door import MISTAKE
from k8s.api import Object
from k8s.asked import Asked
from k8s.state import End

ASKED = "sttn/asked"  # annotation: digest of what was asked for, manifest and arguments

_EXIT = re.compile(r"exit code:? (\d+)")
_ENDED = ("Complete", "Failed", "ValidationFailed")

_REASONS = {
    "DeadlineExceeded": "it was not done within its deadline (jobs.*.deadlineSeconds)",
    "PreRunningDeadlineExceeded": "its cluster did not stand in time (jobs.*.startSeconds)",
    "SubmissionFailed": "Ray did not take it",
    "JobStatusCheckTimeoutExceeded": "its head did not answer any more",
    "JobDeploymentStatusTransitionGracePeriodExceeded": "its submitter was lost while it ran",
}


def filled(template: Object, job: Asked, *, suspended: bool = False) -> Object:
    """The manifest of a job.

    Args:
        template: of its kind, as the chart renders it.
        job: gives name and arguments.
        suspended: KubeRay waits until somebody sets `suspend` to false.
    """
    spec = template["spec"]
    entrypoint = f"{spec['entrypoint']} {job.arguments}".strip()
    manifest: Object = {
        **template,
        "metadata": {**template["metadata"], "name": job.name},
        "spec": {**spec, "entrypoint": entrypoint},
    }
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    manifest["metadata"]["annotations"] = {
        **template["metadata"].get("annotations", {}),
        ASKED: digest[:16],
    }
    if suspended:
        manifest["spec"]["suspend"] = True
    return manifest


def ended(job: Object) -> bool:
    """Whether KubeRay is done with a RayJob; `Retrying` is not the end."""
    return job.get("status", {}).get("jobDeploymentStatus") in _ENDED


def asked_of(job: Object) -> str:
    """Digest of what a job was asked for."""
    return str(job["metadata"].get("annotations", {}).get(ASKED))


def difference(there: Object, wanted: Object) -> str:
    """In words, between a job that is there and one that is wanted."""
    one, other = (str(job["spec"]["entrypoint"]) for job in (there, wanted))
    if one != other:
        return f"{one!r}, and this is {other!r}"
    return "the same command with other values of the chart"


def has_begun(job: Object) -> bool:
    """Whether Ray has taken the job, so that it has a log."""
    status = job.get("status", {})
    return bool(status.get("jobId")) and status.get("jobStatus", "") not in ("", "PENDING")


def in_words(job: Object) -> str:
    """What KubeRay says of a job, in words."""
    status = job.get("status", {})
    if job["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    state = status.get("jobDeploymentStatus", "")
    failed = int(status.get("failed") or 0)
    attempt = f", attempt {failed + 1}" if failed else ""
    words = {
        "": "waits for KubeRay",
        "Initializing": "its cluster starts",
        "Running": "runs",
        "Suspended": "is suspended: whoever owns the queue lets it start",
        "Suspending": "is being suspended",
        "Retrying": "failed, and begins again with a new cluster",
        "Waiting": "waits to be given a job",
    }.get(state)
    return words + attempt if words else end_of("it", job).message.removeprefix("it ")


def mistake_of(name: str, job: Object, code: int | None) -> End | None:
    """How a job ends that was asked for by mistake; None = it was not, as far as is known.

    KubeRay knows no exit codes, and would try it again with a new cluster. Until that begins, 0.1 s
    or more, it says how the last try ended.

    Args:
        name: for the message.
        job: the RayJob.
        code: its entrypoint's exit code, where Ray could be asked.
    """
    if code == MISTAKE:
        return End("FAILED", f"{name} was asked for by mistake; its log says which", MISTAKE)
    if _told_code(job) == MISTAKE:
        return End("FAILED", f"{name} was asked for by mistake: {_said(job)}", MISTAKE)
    return None


def end_of(name: str, job: Object, code: int | None = None) -> End:
    """How a job ended (`ended`).

    Args:
        name: for the message.
        job: the RayJob.
        code: its entrypoint's exit code, where Ray could be asked.
    """
    status = job["status"]
    state, ray = status["jobDeploymentStatus"], status.get("jobStatus", "")
    said = _said(job)
    if state == "ValidationFailed":
        return End(state, f"{name} was not taken by KubeRay: {said}", MISTAKE)
    if state == "Complete" and ray == "SUCCEEDED":
        return End("SUCCEEDED", f"{name} is done", 0)
    if ray == "STOPPED":
        return End("STOPPED", f"{name} was stopped before it was done", 1)
    reason = str(status.get("reason", ""))
    if reason in _REASONS:
        return End(reason, f"{name} failed: {_REASONS[reason]}: {said}".rstrip(": "), 1)
    found = _told_code(job)
    code = code or found or 1
    tries = int(status.get("failed") or 0)
    again = f" {tries} times, the last time" if tries > 1 else ""
    why = "its log says why" if code != 1 or found else said or "no reason given"
    return End("FAILED", f"{name} failed{again} with exit code {code}: {why}", code)


def _said(job: Object) -> str:
    return " ".join(str(job.get("status", {}).get("message", "")).split())


def _told_code(job: Object) -> int | None:
    found = _EXIT.search(_said(job))
    return int(found.group(1)) if found else None
