"""RayJobs of a release: submitted from the chart's templates, once each, and followed to the end.

A job is polled, so that an API server that is away for a while loses nothing; states that pass
between two polls are seen by a watch of Kubernetes.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import yaml

from data_pipeline.cli.command import Refused, UserError, first_few
from k8s.api import Api, AwayError, ConflictError, Object
from k8s.job_request import JobRequest, check_ray
from k8s.job_state import DONE, RUNNING, SUBMITTED, End
from k8s.kueue import why_queued
from k8s.pod_problems import find_problems
from k8s.rayjob import (
    describe,
    difference,
    end_of,
    ended,
    failure_of_attempt,
    fill_template,
    has_started,
    is_suspended,
    kept_log,
    request_digest,
    usage_error_of,
)
from k8s.rayjob_log import JobLog
from k8s.release_status import NO_OPERATOR, UNSEEN_S

_POLL_S = 2
_AWAY_S = 600.0  # an API server that has not answered for so long is given up
_LAST_READS = 3  # attempts to read the rest of the log of a job that has ended
_GONE_S = 300.0  # timeout for the deletion of a job


@dataclass(frozen=True, slots=True)
class Row:
    """A job in a list."""

    name: str
    kind: str
    state: str
    """State in words."""
    created: str
    """Time in ISO 8601."""


@final
class RayJobs:
    """The jobs of one release."""

    def __init__(self, api: Api, release: str) -> None:
        """Send no request yet."""
        self._api = api
        self._release = release
        self._all = f"/apis/ray.io/v1/namespaces/{api.namespace}/rayjobs"

    def submit(self, job: JobRequest, *, suspended: bool = False, once: bool = True) -> str:
        """Submit a job unless it runs already, or has succeeded.

        Args:
            job: the job.
            suspended: create it suspended; a queue or a person starts it.
            once: a job that has succeeded is not run again.

        Returns:
            `SUBMITTED`, `RUNNING` or `DONE`.

        Raises:
            Refused: another job of this name runs.
            UserError: no such release, no KubeRay, another version of Ray, or not allowed.
        """
        template = self._template(job.kind)
        ray = str(template["spec"]["rayClusterSpec"]["rayVersion"])
        check_ray(ray, f"the release {self._release} has")
        wanted = fill_template(template, job, suspended=suspended)
        end = time.monotonic() + _GONE_S
        while True:
            try:
                if self._api.call("POST", self._all, wanted) is None:
                    raise UserError(_NO_KUBERAY)
                return SUBMITTED
            except ConflictError:
                state = self._existing(wanted, once=once)
            if state:
                return state
            if time.monotonic() > end:
                raise Refused(f"{job.name} of before is still being deleted: try again later")
            time.sleep(_POLL_S)

    def _existing(self, wanted: Object, *, once: bool) -> str:
        """Return the state of a job that exists; "" = it is being deleted, try again."""
        name = wanted["metadata"]["name"]
        there = self.find(name)
        if there is None or there["metadata"].get("deletionTimestamp"):
            return ""
        same = request_digest(there) == request_digest(wanted)
        if not ended(there):
            if same:
                return RUNNING
            raise Refused(
                f"{name} is at work already, as another job: {difference(there, wanted)}. Wait "
                "for it or stop it (--cancel), or give this one another name"
            )
        if same and once and end_of(name, there).code == 0:
            return DONE
        self._delete(there)  # work done so far is not lost: the command finds it again
        return ""

    def find(self, name: str) -> Object | None:
        """Return a job by its name; None where there is none."""
        found: Object | None = self._api.call("GET", f"{self._all}/{name}")
        return found

    def get(self, name: str) -> Object:
        """Return a job by its name.

        Raises:
            UserError: there is none; the message lists those that exist.
        """
        found = self.find(name)
        if found is None:
            there = first_few((row.name for row in self.rows()), 5) or "none"
            raise UserError(
                f"there is no job {name!r} in namespace {self._api.namespace}; there are: {there}"
            )
        return found

    def rows(self) -> list[Row]:
        """List the release's jobs, the newest first."""
        rows = [
            Row(
                one["metadata"]["name"],
                one["metadata"]["labels"].get("sttn/kind", ""),
                describe(one),
                one["metadata"]["creationTimestamp"],
            )
            for one in self.all()
        ]
        return sorted(rows, key=lambda row: (row.created, row.name), reverse=True)

    def all(self, kind: str = "") -> list[Object]:
        """Return the release's jobs, of one kind or of all."""
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
        # By its uid: another job of this name may have been created meanwhile.
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
        """Write the log of a job until the job ends.

        Args:
            name: name of the job.
            write: takes pieces of its log.
            tell: takes lines about its state.

        A job that ended with a usage error is deleted: a restart would end the same way.

        Raises:
            Refused: the API server has been away for ten minutes; the job may run.
        """
        told, failures = "", set[str]()
        log = JobLog(self._api, write, lambda line: tell(f"{name}: {line}"))
        first = answered = time.monotonic()
        uid = self.get(name)["metadata"]["uid"]
        while True:
            began = time.monotonic()
            try:
                job = self.find(name)
                if job is None or job["metadata"]["uid"] != uid:
                    return End("VANISHED", f"{name} was deleted before it ended", 1)
                if ended(job):
                    self._read_to_the_end(log, job, tell)
                    return end_of(name, job, log.code)
                if has_started(job):
                    log.poll(job["status"])
                line = "; ".join([f"{name}: {describe(job)}", *self._problems(job, began - first)])
                if line != told:
                    tell(line)
                    told = line
                answered = time.monotonic()
            except AwayError as error:
                if time.monotonic() - answered > _AWAY_S:
                    raise Refused(f"{error}, for {_AWAY_S:.0f} s: {name} may run still") from error
                time.sleep(_POLL_S)
                continue
            if end := self._watched(name, job, log.code, failures, tell):
                return end

    def _watched(
        self,
        name: str,
        job: Object,
        code: int | None,
        failures: set[str],
        tell: Callable[[str], object],
    ) -> End | None:
        """Wait until the next poll: tell which attempts failed, delete a job of a usage error."""
        for state in self._states(job):
            if end := usage_error_of(name, state, code):
                self._delete(job)
                return end
            # The cluster of a failed attempt, and the end of its log, are deleted at once.
            if (why := failure_of_attempt(state)) and why not in failures:
                failures.add(why)
                tell(f"{name}: {why}")
        return None

    def _read_to_the_end(self, log: JobLog, job: Object, tell: Callable[[str], object]) -> None:
        """Read the rest of the log; where that cannot be, say where the log is kept."""
        if not has_started(job):
            return
        for left in reversed(range(_LAST_READS)):
            if log.read(job["status"], last=not left):
                return
            if left:
                time.sleep(_POLL_S)
        if uri := kept_log(job):
            tell(f"{job['metadata']['name']}: its log is kept at {uri}")

    def _states(self, job: Object) -> Iterator[Object]:
        """Yield a job, and each state until the next poll: KubeRay may leave one after 0.1 s."""
        yield job
        meta = job["metadata"]
        one = f"metadata.name={meta['name']}"
        try:
            yield from self._api.changes(
                self._all, meta["resourceVersion"], _POLL_S, fieldSelector=one
            )
        except (AwayError, UserError):  # without the right to watch, poll
            time.sleep(_POLL_S)

    def _problems(self, job: Object, watched: float) -> list[str]:
        """List why a job does not start; it has been followed for `watched` seconds."""
        if has_started(job):
            return []
        if waiting := is_suspended(job) and why_queued(self._api, job):
            return waiting
        if not job.get("status"):
            return [NO_OPERATOR] if watched > UNSEEN_S else []
        cluster = job["status"].get("rayClusterName")
        return find_problems(self._api, f"ray.io/cluster={cluster}") if cluster else []

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
