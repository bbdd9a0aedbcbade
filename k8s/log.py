"""What a RayJob prints: asked of the head of its cluster, by way of the API server.

Needed rights, beside those on RayJobs: `get` of services/proxy, rayclusters and secrets.
"""

import base64
from collections.abc import Callable
from typing import final

from data_pipeline.door import UserError
from k8s.api import Api, AwayError, Object


@final
class Log:
    """What a job prints, by way of the API server and the head of its cluster."""

    def __init__(self, api: Api, write: Callable[[str], object]) -> None:
        self._api = api
        self._write = write
        self._job = ""  # of Ray; each attempt is another
        self._shown = 0
        self._token: str | None = None
        self._barred = False
        self.code: int | None = None
        """Of the entrypoint, where Ray has told one."""

    def read(self, status: Object) -> str:
        """Write what is new.

        Args:
            status: of the RayJob.

        Returns:
            Why it cannot be read, said once; "" = it can, or not at this moment.
        """
        if self._barred:
            return ""
        if status["jobId"] != self._job:
            self._job, self._shown, self._token, self.code = status["jobId"], 0, None, None
        cluster = status.get("rayClusterName", "")
        head = status.get("rayClusterStatus", {}).get("head", {}).get("serviceName")
        service = f"{head or f'{cluster}-head-svc'}:8265"
        path = f"/api/jobs/{self._job}"
        try:
            if self._token is None:
                self._token = token_of(self._api, cluster)
            answer = self._api.through(service, f"{path}/logs", self._token)
            text = answer["logs"] if isinstance(answer, dict) else ""
            if len(text) < self._shown:
                self._shown = 0  # a new head: KubeRay submits the job to it once more
            self._write(text[self._shown :])
            self._shown = len(text)
            info = self._api.through(service, path, self._token)
            if isinstance(info, dict):
                self.code = info.get("driver_exit_code")
        except AwayError:
            pass  # the head is going, or comes back; the RayJob says which
        except UserError as error:
            self._barred = True
            return str(error)
        return ""


def token_of(api: Api, cluster: str) -> str:
    """Ray's token of a cluster; "" where it needs none."""
    where = f"/apis/ray.io/v1/namespaces/{api.namespace}/rayclusters/{cluster}"
    made = api.call("GET", where)
    options = (made or {}).get("spec", {}).get("authOptions", {})
    if options.get("mode") != "token":
        return ""
    name = options.get("secretName") or cluster
    secret = api.call("GET", f"/api/v1/namespaces/{api.namespace}/secrets/{name}")
    return decoded(secret, "auth_token")


def decoded(secret: Object | None, key: str) -> str:
    """A key of a Secret; "" where it is not there."""
    return base64.b64decode((secret or {}).get("data", {}).get(key, "")).decode()
