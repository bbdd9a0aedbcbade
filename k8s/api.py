"""Kubernetes' API server: one call, and the ways in which it can go wrong, told apart.

Objects are what they are in manifests: dicts. Which cluster, and as whom, is what kubectl would
take; inside a pod, its service account.
"""

import http
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import urllib3
from kubernetes import client
from kubernetes import config as kubeconfig
from kubernetes.config.config_exception import ConfigException
from kubernetes.stream import stream

from data_pipeline.door import UserError

Object = dict[str, Any]

_TIMEOUT_S = 30.0
_IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class AwayError(OSError):
    """The API server, or what it asks in its turn, does not answer; it may later."""


class ConflictError(RuntimeError):
    """There is one of this name, or it has changed meanwhile."""


@final
class Api:
    """The API server.

    Args:
        context: of the kubeconfig; "" = its current one.
        namespace: "" = that of the context, or of the pod.

    Raises:
        UserError: there is no kubeconfig, or not this context.
    """

    def __init__(self, context: str = "", namespace: str = "") -> None:
        configuration = client.Configuration()
        try:
            if not context and _IN_POD.exists():
                kubeconfig.load_incluster_config(client_configuration=configuration)
                known = _IN_POD.read_text().strip()
            else:
                kubeconfig.load_kube_config(
                    context=context or None, client_configuration=configuration
                )
                known = _namespace(context)
        except ConfigException as error:
            said = " ".join(str(error).split()).rstrip(".")
            raise UserError(
                f"no Kubernetes cluster is configured here ({said}): set KUBECONFIG, or give "
                "--address of a Ray cluster without Kubernetes"
            ) from error
        # A server that is away is asked again by whoever knows how long that makes sense.
        configuration.retries = urllib3.Retry(0)
        self.server = str(configuration.host)
        self.namespace = namespace or known
        self._client = client.ApiClient(configuration)

    def call(self, method: str, path: str, body: Object | None = None, **query: Any) -> Any:
        """One call.

        Args:
            method: of HTTP.
            path: below the server, as /api/v1/namespaces.
            body: an object.
            query: of the URL.

        Returns:
            What was answered; None where there is no such thing.

        Raises:
            AwayError: nobody answers, or not now.
            ConflictError: see there.
            UserError: not allowed, or not valid; in the server's words.
        """
        return self._answered(method, path, {"Content-Type": "application/json"}, body, query)

    def changes(self, path: str, since: str, seconds: int, **query: Any) -> list[Object]:
        """Each state that objects take within the next seconds, in their order.

        Args:
            path: of all of a kind.
            since: resource version after which it counts.
            seconds: how long to look, at least 1.
            query: of the URL.
        """
        asked = {"watch": 1, "resourceVersion": since, "timeoutSeconds": seconds, **query}
        text = self._answered("GET", path, {}, None, asked, raw=True)
        events = [json.loads(line) for line in text.splitlines()]
        return [one["object"] for one in events if one["type"] in ("ADDED", "MODIFIED")]

    def through(self, service: str, path: str, token: str = "") -> Any:
        """What a service inside the cluster answers, asked by way of the API server.

        Args:
            service: name:port, in this namespace.
            path: of its URL.
            token: of Ray; the API server keeps what is in Authorization to itself.
        """
        headers = {"x-ray-authorization": f"Bearer {token}"} if token else {}
        where = f"/api/v1/namespaces/{self.namespace}/services/{service}/proxy{path}"
        return self._answered("GET", where, headers, None, {})

    def run(self, pod: str, container: str, command: Sequence[str]) -> tuple[int, str]:
        """Run a command in a container, as `kubectl exec` does.

        Returns:
            Its exit code, and what it printed.

        Raises:
            AwayError: nobody answers, or it did not end in time.
            UserError: not allowed.
        """
        try:
            done = stream(
                client.CoreV1Api(self._client).connect_get_namespaced_pod_exec,
                pod,
                self.namespace,
                container=container,
                command=list(command),
                stdout=True,
                stderr=True,
                _preload_content=False,
                _request_timeout=_TIMEOUT_S,
            )
        except client.ApiException as error:
            if f" {http.HTTPStatus.FORBIDDEN.value} " in str(error.reason):
                raise UserError(
                    f"not allowed: you may not create pods/exec in {self.namespace}; ask for that "
                    "right"
                ) from error
            raise AwayError(f"pod {pod} does not answer: {_message(str(error.reason))}") from error
        done.run_forever(timeout=_TIMEOUT_S)
        if done.is_open():
            done.close()
            raise AwayError(f"{' '.join(command)} in pod {pod} did not end in {_TIMEOUT_S:.0f} s")
        return done.returncode, done.read_all()

    def _answered(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: Object | None,
        query: dict[str, Any],
        *,
        raw: bool = False,
    ) -> Any:
        try:
            asked = self._client.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", **headers},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(*asked, _request_timeout=_TIMEOUT_S)
            text = bytes(response.read() or b"").decode(errors="replace")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise AwayError(f"the API server at {self.server} does not answer: {error}") from error
        if raw and response.status < http.HTTPStatus.BAD_REQUEST:
            return text
        return _understood(response.status, text, f"{method} {path}")


def _understood(status: int, text: str, what: str) -> Any:
    if status < http.HTTPStatus.BAD_REQUEST:
        return json.loads(text) if text[:1] in "{[" else text
    said = _message(text) or f"HTTP {status} for {what}"
    if status == http.HTTPStatus.NOT_FOUND:
        return None
    if status == http.HTTPStatus.CONFLICT:
        raise ConflictError(said)
    if (
        status == http.HTTPStatus.TOO_MANY_REQUESTS
        or status >= http.HTTPStatus.INTERNAL_SERVER_ERROR
    ):
        raise AwayError(said)
    if status == http.HTTPStatus.UNAUTHORIZED:
        raise UserError(f"the cluster does not know who you are ({said}): log in to it again")
    if status == http.HTTPStatus.FORBIDDEN:
        raise UserError(f"not allowed: {said}; ask for that right")
    raise UserError(f"the cluster refuses: {said}")


def _message(text: str) -> str:
    try:
        said = json.loads(text).get("message", "")
    except (json.JSONDecodeError, AttributeError):
        said = text
    return " ".join(str(said).split())[:1000].rstrip(".")


def _namespace(context: str) -> str:
    contexts, current = kubeconfig.list_kube_config_contexts()
    chosen = next((one for one in contexts if one["name"] == context), current)
    return str(chosen["context"].get("namespace") or "default")
