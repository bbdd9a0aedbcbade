"""A RayJob object: made from the chart's template, and its status in words. Pure functions."""

import hashlib
import json
import re

from data_pipeline.cli.command import MISTAKE
from k8s.api import Object
from k8s.job_request import JobRequest
from k8s.job_state import End
from k8s.kueue import queue_of

DIGEST = "sttn/asked"  # annotation: digest of the request, manifest and arguments

KEEP_LOG = "sttn-keep-log --"  # how the entrypoint of a job begins whose log is kept

_EXIT = re.compile(r"exit code:? (\d+)")
_ENDED = ("Complete", "Failed", "ValidationFailed")

_REASONS = {
    "DeadlineExceeded": "it did not end within its deadline (jobs.*.deadlineSeconds)",
    "PreRunningDeadlineExceeded": "its cluster was not ready in time (jobs.*.startSeconds)",
    "SubmissionFailed": "Ray did not accept it",
    "JobStatusCheckTimeoutExceeded": "its head stopped answering",
    "JobDeploymentStatusTransitionGracePeriodExceeded": "its submitter was lost while it ran",
}


def fill_template(template: Object, job: JobRequest, *, suspended: bool = False) -> Object:
    """Fill the chart's template in: the manifest of a job.

    Args:
        template: template of the job's kind, as the chart renders it.
        job: gives name and arguments.
        suspended: KubeRay waits until a queue or a person sets `suspend` to false.
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
        DIGEST: digest[:16],
    }
    if suspended:
        manifest["spec"]["suspend"] = True
    return manifest


def kept_log(job: Object) -> str:
    """Return where the log of a job is kept in the storage; "" = nowhere. See `keep_log`."""
    spec, name = job["spec"], job.get("status", {}).get("jobId", "")
    if not name or not spec["entrypoint"].startswith(f"{KEEP_LOG} "):
        return ""
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    storage = {one["name"]: one.get("value") for one in head["env"]}["STTN_STORAGE"]
    return f"{storage}/logs/{name}.log"


def ended(job: Object) -> bool:
    """Return whether a RayJob has ended for KubeRay; `Retrying` is not the end."""
    return job.get("status", {}).get("jobDeploymentStatus") in _ENDED


def request_digest(job: Object) -> str:
    """Return the digest of the request that a job was made from."""
    return str(job["metadata"].get("annotations", {}).get(DIGEST))


def difference(there: Object, wanted: Object) -> str:
    """Describe how a job that exists differs from one that is submitted."""
    one, other = (
        str(job["spec"]["entrypoint"]).removeprefix(f"{KEEP_LOG} ") for job in (there, wanted)
    )
    if one != other:
        return f"{one!r}, and this is {other!r}"
    return "the same command with other values of the chart"


def has_started(job: Object) -> bool:
    """Return whether Ray has started the job, so that it has a log."""
    status = job.get("status", {})
    return bool(status.get("jobId")) and status.get("jobStatus", "") not in ("", "PENDING")


def is_suspended(job: Object) -> bool:
    """Return whether a job waits for its queue, or for a person, to start it."""
    return bool(job["spec"].get("suspend"))


def describe(job: Object) -> str:
    """Describe the status that KubeRay gives of a job."""
    status = job.get("status", {})
    if job["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    state = status.get("jobDeploymentStatus", "")
    queue = f"queue {queue_of(job)}" if queue_of(job) else "somebody"
    failed = int(status.get("failed") or 0)
    attempt = f", attempt {failed + 1}" if failed else ""
    words = {
        "": "waits for KubeRay",
        "Initializing": "its cluster starts",
        "Running": "runs",
        "Suspended": f"is suspended, until {queue} starts it",
        "Suspending": "is being suspended",
        "Retrying": "failed, and restarts with a new cluster",
        "Waiting": "waits to be given a job",
    }.get(state)
    return words + attempt if words else end_of("it", job).message.removeprefix("it ")


def usage_error_of(name: str, job: Object, code: int | None) -> End | None:
    """Return how a job ended whose command refused its arguments (exit code 2); else None.

    KubeRay knows no exit codes, and would restart it with a new cluster. Until that begins, 0.1 s
    or more, the status says how the last attempt ended.

    Args:
        name: name for the message.
        job: the RayJob.
        code: exit code of its entrypoint, where Ray gave one.
    """
    if code == MISTAKE:
        return End("FAILED", f"{name} ended with a usage error; its log says which", MISTAKE)
    if _code_in_message(job) == MISTAKE:
        return End("FAILED", f"{name} ended with a usage error: {_message(job)}", MISTAKE)
    return None


def failure_of_attempt(job: Object) -> str:
    """Describe why the last attempt of a job failed that is being restarted; else ""."""
    status = job.get("status", {})
    if status.get("jobDeploymentStatus") != "Retrying":
        return ""
    number = max(1, int(status.get("failed") or 0))
    return f"attempt {number} failed: {_message(job) or status.get('reason') or 'no reason given'}"


def end_of(name: str, job: Object, code: int | None = None) -> End:
    """Describe how a job ended, of which `ended` is true.

    Args:
        name: name for the message.
        job: the RayJob.
        code: exit code of its entrypoint, where Ray gave one.
    """
    status = job["status"]
    state, ray = status["jobDeploymentStatus"], status.get("jobStatus", "")
    said = _message(job)
    if state == "ValidationFailed":
        return End(state, f"{name} was refused by KubeRay: {said}", MISTAKE)
    if state == "Complete" and ray == "SUCCEEDED":
        return End("SUCCEEDED", f"{name} is done", 0)
    if ray == "STOPPED":
        return End("STOPPED", f"{name} was stopped before it was done", 1)
    reason = str(status.get("reason", ""))
    if reason in _REASONS:
        return End(reason, f"{name} failed: {_REASONS[reason]}: {said}".rstrip(": "), 1)
    code = code or _code_in_message(job)
    tries = int(status.get("failed") or 0)
    again = f" {tries} times, the last time" if tries > 1 else ""
    if code is None:
        why = f"an exit code that could not be read: {said or 'no reason given'}"
        return End("FAILED", f"{name} failed{again} with {why}", 1)
    return End("FAILED", f"{name} failed{again} with exit code {code}: its log says why", code)


def _message(job: Object) -> str:
    text = " ".join(str(job.get("status", {}).get("message", "")).split())
    # It may hold the last 20,000 characters of a log, whose end says most.
    return text if len(text) <= 1000 else f"{text[:300]} … {text[-700:]}"


def _code_in_message(job: Object) -> int | None:
    found = _EXIT.search(_message(job))
    return int(found.group(1)) if found else None
