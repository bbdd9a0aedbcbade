"""The log and the exit code of a RayJob, read from the head of its cluster.

Rights needed, beside those on RayJobs: get services, rayclusters and secrets, list pods, get and
create pods/portforward.
"""

import base64
import time
from collections.abc import Callable
from typing import final

from data_pipeline.cli.command import UserError
from k8s.api import Api, AwayError, Object

_UNREAD_S = 20.0  # a log that cannot be read for so long is reported


@final
class JobLog:
    """What a job prints; what cannot be read is reported, never passed over.

    Args:
        api: the cluster.
        write: takes pieces of the log.
        tell: takes a line when the log cannot be read.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        api: Api,
        write: Callable[[str], object],
        tell: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._write = write
        self._tell = tell
        self._clock = clock
        self._job = ""  # Ray's name of the attempt
        self._shown = 0
        self._token: str | None = None
        self._barred = False
        self._next_poll = clock()
        self._unread_since: float | None = None
        self._told = ""
        self.code: int | None = None
        """Exit code of the entrypoint, where Ray has given one."""

    def poll(self, status: Object) -> None:
        """Write what is new, if it is time: Ray sends the whole log, however long it is."""
        began = self._clock()
        if began >= self._next_poll:
            self.read(status)
            # At most a tenth of the time goes into reading.
            self._next_poll = began + 10 * (self._clock() - began)

    def read(self, status: Object, *, last: bool = False) -> bool:
        """Write what is new.

        Args:
            status: status of the RayJob.
            last: no other read follows: report at once what could not be read.

        Returns:
            Whether the log was read.
        """
        if self._barred:
            return False
        if status["jobId"] != self._job:
            self._job, self._shown, self._token, self.code = status["jobId"], 0, None, None
        try:
            self._read(status)
        except AwayError as error:
            now = self._clock()
            if self._unread_since is None:
                self._unread_since = now
            if last or now - self._unread_since >= _UNREAD_S:
                self._report(str(error))
            return False
        except UserError as error:
            self._barred = True  # a right is missing: it stays so
            self._report(str(error))
            return False
        self._unread_since, self._told = None, ""
        return True

    def _read(self, status: Object) -> None:
        cluster = status.get("rayClusterName", "")
        head = status.get("rayClusterStatus", {}).get("head", {}).get("serviceName")
        service = f"{head or f'{cluster}-head-svc'}:8265"
        path = f"/api/jobs/{self._job}"
        if self._token is None:
            self._token = token_of(self._api, cluster)
        answer = self._api.through(service, f"{path}/logs", self._token)
        if not isinstance(answer, dict):
            raise AwayError(f"{service} knows no job {self._job}")
        text = answer["logs"]
        if len(text) < self._shown:
            self._shown = 0  # a new head: KubeRay submits the job to it once more
        self._write(text[self._shown :])
        self._shown = len(text)
        info = self._api.through(service, path, self._token)
        if isinstance(info, dict):
            self.code = info.get("driver_exit_code")

    def _report(self, problem: str) -> None:
        if problem != self._told:
            self._tell(f"its log cannot be read: {problem}")
            self._told = problem


def token_of(api: Api, cluster: str) -> str:
    """Return Ray's token of a cluster; "" where it needs none."""
    where = f"/apis/ray.io/v1/namespaces/{api.namespace}/rayclusters/{cluster}"
    made = api.call("GET", where)
    options = (made or {}).get("spec", {}).get("authOptions", {})
    if options.get("mode") != "token":
        return ""
    name = options.get("secretName") or cluster
    secret = api.call("GET", f"/api/v1/namespaces/{api.namespace}/secrets/{name}")
    return decoded(secret, "auth_token")


def decoded(secret: Object | None, key: str) -> str:
    """Return the value of a key of a Secret; "" where it does not exist."""
    return base64.b64decode((secret or {}).get("data", {}).get(key, "")).decode()
