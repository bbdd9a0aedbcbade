"""RayJobs: the chart's templates, filled in; one job for the same submission; watched to its end.

A job is watched by a look now and then at what the API server knows, so that an API server that is
away for a while loses nothing; what passes between two looks is watched as Kubernetes means it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import yaml

from data_pipeline.door import Refused, UserError, first_few
from k8s.api import Api, AwayError, ConflictError, Object
from k8s.asked import Asked, check_ray
from k8s.health import trouble
from k8s.log import Log
from k8s.parts import NO_OPERATOR, UNSEEN_S
from k8s.rayjob import asked_of, difference, end_of, ended, filled, has_begun, in_words, mistake_of
from k8s.state import DONE, RUNNING, SUBMITTED, End

_LOOK_S = 2
_AWAY_S = 600.0  # an API server that is away for so long is not waited for
_GONE_S = 300.0  # a job that is being deleted is gone by then


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
        same = asked_of(there) == asked_of(wanted)
        if not ended(there):
            if same:
                return RUNNING
            raise Refused(
                f"{name} is at work already, as another job: {difference(there, wanted)}. Wait "
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
                in_words(one),
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

        A job that says that it was asked for by mistake is deleted: again it would say the same.

        Raises:
            Refused: the API server has been away for ten minutes; the job may run.
        """
        log, told = Log(self._api, write), ""
        first = answered = read_again = time.monotonic()
        uid = self.get(name)["metadata"]["uid"]
        while True:
            began = time.monotonic()
            try:
                job = self.find(name)
                if job is None or job["metadata"]["uid"] != uid:
                    return End("VANISHED", f"{name} was deleted before it ended", 1)
                if has_begun(job) and (began >= read_again or ended(job)):
                    if problem := log.read(job["status"]):
                        tell(f"{name}: its log cannot be read: {problem}")
                    # A long log is asked for whole: at most a tenth of the time goes into that.
                    read_again = began + 10 * (time.monotonic() - began)
                if ended(job):
                    return end_of(name, job, log.code)
                line = "; ".join([f"{name}: {in_words(job)}", *self._trouble(job, began - first)])
                if line != told:
                    tell(line)
                    told = line
                answered = time.monotonic()
            except AwayError as error:
                if time.monotonic() - answered > _AWAY_S:
                    raise Refused(f"{error}, for {_AWAY_S:.0f} s: {name} may run still") from error
                time.sleep(_LOOK_S)
                continue
            if end := self._mistake(name, job, log.code):
                return end

    def _mistake(self, name: str, job: Object, code: int | None) -> End | None:
        """Wait until the next look; a job that was asked for by mistake is deleted."""
        for state in self._states(job):
            if end := mistake_of(name, state, code):
                self._delete(job)
                return end
        return None

    def _states(self, job: Object) -> Iterator[Object]:
        """A job, and what it becomes until the next look: KubeRay may leave a state in 0.1 s."""
        yield job
        meta = job["metadata"]
        one = f"metadata.name={meta['name']}"
        try:
            yield from self._api.changes(
                self._all, meta["resourceVersion"], _LOOK_S, fieldSelector=one
            )
        except (AwayError, UserError):  # whoever may not watch may still look
            time.sleep(_LOOK_S)

    def _trouble(self, job: Object, watched: float) -> list[str]:
        """What keeps a job from beginning; it has been watched for so many seconds."""
        if has_begun(job):
            return []
        if not job.get("status"):
            return [NO_OPERATOR] if watched > UNSEEN_S else []
        cluster = job["status"].get("rayClusterName")
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
