"""RayJobs: the chart's templates, filled in; one job for the same submission; watched to its end.

Every watch is a look now and then at what the API server knows: one that breaks, or an API server
that is away for a while, loses nothing.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import yaml

from data_pipeline.door import Refused, UserError, first_few
from k8s.api import Api, AwayError, ConflictError, Object
from k8s.asked import Asked, check_ray
from k8s.health import trouble
from k8s.log import Log
from k8s.state import DONE, RUNNING, SUBMITTED, End

ASKED = "sttn/asked"  # annotation: digest of what was asked for, manifest and arguments

_LOOK_S = 2.0
_AWAY_S = 600.0  # an API server that is away for so long is not waited for
_GONE_S = 300.0  # a job that is being deleted is gone by then
_EXIT = re.compile(r"exit code:? (\d+)")
_ENDED = ("Complete", "Failed", "ValidationFailed")

_REASONS = {
    "DeadlineExceeded": "it was not done within its deadline (jobs.*.deadlineSeconds)",
    "PreRunningDeadlineExceeded": "its cluster did not stand in time (jobs.*.startSeconds)",
    "SubmissionFailed": "Ray did not take it",
    "JobStatusCheckTimeoutExceeded": "its head did not answer any more",
    "JobDeploymentStatusTransitionGracePeriodExceeded": "its submitter was lost while it ran",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A job in a list."""

    name: str
    kind: str
    state: str
    """In words."""
    created: str
    """ISO 8601."""


@final
class RayJobs:
    """The jobs of one release."""

    def __init__(self, api: Api, release: str) -> None:
        """Nothing is asked yet."""
        self._api = api
        self._release = release
        self._all = f"/apis/ray.io/v1/namespaces/{api.namespace}/rayjobs"

    def submit(self, job: Asked, *, suspended: bool = False, once: bool = True) -> str:
        """See to it that a job runs, or has run, exactly once.

        Args:
            job: what.
            suspended: it is made, and somebody else lets it start.
            once: a job that has succeeded is not run again.

        Returns:
            `SUBMITTED`, `RUNNING` or `DONE`.

        Raises:
            Refused: another job of this name is at work.
            UserError: no such release here, no KubeRay, another version of Ray, or no right to.
        """
        template = self._template(job.kind)
        ray = str(template["spec"]["rayClusterSpec"]["rayVersion"])
        check_ray(ray, f"the release {self._release} has")
        wanted = filled(template, job, suspended=suspended)
        end = time.monotonic() + _GONE_S
        while True:
            try:
                if self._api.call("POST", self._all, wanted) is None:
                    raise UserError(_NO_KUBERAY)
                return SUBMITTED
            except ConflictError:
                state = self._met(wanted, once=once)
            if state:
                return state
            if time.monotonic() > end:
                raise Refused(f"{job.name} of before is still being deleted: try again later")
            time.sleep(_LOOK_S)

    def _met(self, wanted: Object, *, once: bool) -> str:
        """What is to be said of a job that is there; "" = it is going, look again."""
        name = wanted["metadata"]["name"]
        there = self.find(name)
        if there is None or there["metadata"].get("deletionTimestamp"):
            return ""
        same = _asked(there) == _asked(wanted)
        if not ended(there):
            if same:
                return RUNNING
            raise Refused(
                f"{name} is at work already, as another job: {_difference(there, wanted)}. Wait "
                "for it or stop it (--cancel), or give this one another name"
            )
        if same and once and end_of(name, there).code == 0:
            return DONE
        self._delete(there)  # what is there of the work is found again by the work itself
        return ""

    def find(self, name: str) -> Object | None:
        """A job by its name; None where there is none."""
        found: Object | None = self._api.call("GET", f"{self._all}/{name}")
        return found

    def get(self, name: str) -> Object:
        """A job by its name.

        Raises:
            UserError: there is none; says which are.
        """
        found = self.find(name)
        if found is None:
            there = first_few((row.name for row in self.rows()), 5) or "none"
            raise UserError(
                f"there is no job {name!r} in namespace {self._api.namespace}; there are: {there}"
            )
        return found

    def rows(self) -> list[Row]:
        """The release's jobs, the newest first."""
        rows = [
            Row(
                one["metadata"]["name"],
                one["metadata"]["labels"].get("sttn/kind", ""),
                _state(one),
                one["metadata"]["creationTimestamp"],
            )
            for one in self.all()
        ]
        return sorted(rows, key=lambda row: (row.created, row.name), reverse=True)

    def all(self, kind: str = "") -> list[Object]:
        """The release's jobs, of one kind or of all."""
        label = f"app.kubernetes.io/instance={self._release}"
        if kind:
            label += f",sttn/kind={kind}"
        answer = self._api.call("GET", self._all, labelSelector=label)
        if answer is None:
            raise UserError(_NO_KUBERAY)
        items: list[Object] = answer["items"]
        return items

    def stop(self, name: str) -> bool:
        """Delete a job with its cluster; False where it had ended already."""
        job = self.get(name)
        if ended(job):
            return False
        self._delete(job)
        return True

    def delete(self, name: str) -> None:
        """Delete a job, if there is one."""
        job = self.find(name)
        if job is not None:
            self._delete(job)

    def _delete(self, job: Object) -> None:
        # Only the very one that was looked at: another may have come in its place.
        options: Object = {
            "propagationPolicy": "Background",
            "preconditions": {"uid": job["metadata"]["uid"]},
        }
        try:
            self._api.call("DELETE", f"{self._all}/{job['metadata']['name']}", options)
        except ConflictError:
            return

    def follow(
        self, name: str, write: Callable[[str], object], tell: Callable[[str], object]
    ) -> End:
        """Write what a job prints until it ends.

        Args:
            name: of the job.
            write: takes pieces of its log.
            tell: takes lines about its state.

        Raises:
            Refused: the API server has been away for ten minutes; the job may run.
        """
        log, told, answered = Log(self._api, write), "", time.monotonic()
        uid = self.get(name)["metadata"]["uid"]
        while True:
            began = time.monotonic()
            try:
                job = self.find(name)
                if job is None or job["metadata"]["uid"] != uid:
                    return End("VANISHED", f"{name} was deleted before it ended", 1)
                if _begun(job) and (problem := log.read(job["status"])):
                    tell(f"{name}: its log cannot be read: {problem}")
                if ended(job):
                    return end_of(name, job, log.code)
                line = f"{name}: {_state(job)}"
                if not _begun(job):
                    line += "".join(f"; {one}" for one in self._trouble(job))
                if line != told:
                    tell(line)
                    told = line
                answered = time.monotonic()
            except AwayError as error:
                if time.monotonic() - answered > _AWAY_S:
                    raise Refused(f"{error}, for {_AWAY_S:.0f} s: {name} may run still") from error
            # A long log is asked for whole: at most a tenth of the time goes into that.
            time.sleep(max(_LOOK_S, 9 * (time.monotonic() - began)))

    def _trouble(self, job: Object) -> list[str]:
        cluster = job.get("status", {}).get("rayClusterName")
        return trouble(self._api, f"ray.io/cluster={cluster}") if cluster else []

    def _template(self, kind: str) -> Object:
        name = f"{self._release}-jobs"
        where = f"/api/v1/namespaces/{self._api.namespace}"
        found = self._api.call("GET", f"{where}/configmaps/{name}")
        if found is None:
            raise UserError(
                f"there is no release {self._release!r} in namespace {self._api.namespace} (no "
                f"ConfigMap {name}): install the chart, or give --release and --namespace"
            )
        template: Object = yaml.safe_load(found["data"][f"{kind}.yaml"])
        return template


_NO_KUBERAY = "this cluster knows no RayJob: install the KubeRay operator with its CRDs"


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


def _asked(job: Object) -> str:
    return str(job["metadata"].get("annotations", {}).get(ASKED))


def _difference(there: Object, wanted: Object) -> str:
    one, other = (str(job["spec"]["entrypoint"]) for job in (there, wanted))
    if one != other:
        return f"{one!r}, and this is {other!r}"
    return "the same command with other values of the chart"


def _begun(job: Object) -> bool:
    status = job.get("status", {})
    return bool(status.get("jobId")) and status.get("jobStatus", "") not in ("", "PENDING")


def _state(job: Object) -> str:
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


def end_of(name: str, job: Object, code: int | None = None) -> End:
    """How a job ended (`ended`).

    Args:
        name: for the message.
        job: the RayJob.
        code: its entrypoint's exit code, where Ray could be asked.
    """
    status = job["status"]
    state, ray = status["jobDeploymentStatus"], status.get("jobStatus", "")
    said = " ".join(str(status.get("message", "")).split())
    if state == "ValidationFailed":
        return End(state, f"{name} was not taken by KubeRay: {said}", 2)
    if state == "Complete" and ray == "SUCCEEDED":
        return End("SUCCEEDED", f"{name} is done", 0)
    if ray == "STOPPED":
        return End("STOPPED", f"{name} was stopped before it was done", 1)
    reason = str(status.get("reason", ""))
    if reason in _REASONS:
        return End(reason, f"{name} failed: {_REASONS[reason]}: {said}".rstrip(": "), 1)
    found = _EXIT.search(said)
    code = code or (int(found.group(1)) if found else 1)
    tries = int(status.get("failed") or 0)
    again = f" {tries} times, the last time" if tries > 1 else ""
    why = "its log says why" if code != 1 or found else said or "no reason given"
    return End("FAILED", f"{name} failed{again} with exit code {code}: {why}", code)
