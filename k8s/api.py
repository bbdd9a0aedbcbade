"""Client of the Kubernetes API server, with an error class for each way in which a call can fail.

Objects are dicts, as in manifests. Cluster and user are those that kubectl would use; inside a pod,
its service account.
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
from kubernetes.stream.ws_client import create_websocket, get_websocket_url
from websocket import WebSocketException

from data_pipeline.cli.command import UserError
from k8s import port_forward

Object = dict[str, Any]

_TIMEOUT_S = 30.0
_FORWARDING = "v4.channel.k8s.io"  # protocol of forwarded ports
_IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class AwayError(OSError):
    """The API server, or what it forwards to, does not answer; it may later."""


class ConflictError(RuntimeError):
    """An object of this name exists, or it has changed meanwhile."""


@final
class Api:
    """The API server.

    Args:
        context: context of the kubeconfig; "" = its current one.
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
        # Callers retry: they know for how long it makes sense.
        configuration.retries = urllib3.Retry(0)
        self.server = str(configuration.host)
        self.namespace = namespace or known
        self._client = client.ApiClient(configuration)

    def call(self, method: str, path: str, body: Object | None = None, **query: Any) -> Any:
        """Send one request.

        Args:
            method: HTTP method.
            path: path of the URL, as /api/v1/namespaces.
            body: an object.
            query: query of the URL.

        Returns:
            The answer; None where there is no such object.

        Raises:
            AwayError: no answer, or not now.
            ConflictError: see there.
            UserError: not allowed, or not valid; in the server's words.
        """
        return self._answered(method, path, {"Content-Type": "application/json"}, body, query)

    def changes(self, path: str, since: str, seconds: int, **query: Any) -> list[Object]:
        """Watch: return each state that objects take within the next seconds, in order.

        Args:
            path: path of all objects of a kind.
            since: resource version to begin after.
            seconds: how long to watch, at least 1.
            query: query of the URL.
        """
        options = {"watch": 1, "resourceVersion": since, "timeoutSeconds": seconds, **query}
        text = self._answered("GET", path, {}, None, options, raw=True)
        events = [json.loads(line) for line in text.splitlines()]
        return [one["object"] for one in events if one["type"] in ("ADDED", "MODIFIED")]

    def through(self, service: str, path: str, token: str = "") -> Any:
        """Send a GET request to a service inside the cluster, through a forwarded port of its pod.

        Args:
            service: name:port, in this namespace.
            path: path of the URL.
            token: bearer token; "" = none.

        Returns:
            The answer, parsed where it is JSON; None where there is no such page (404).

        Raises:
            AwayError: no pod runs behind the service, it does not answer, or with a status of 5xx.
            UserError: not allowed, by the API server or by the service.
        """
        pod, port = self._behind(service)
        _, url, headers, *_ = self._client.param_serialize(
            "GET",
            f"/api/v1/namespaces/{self.namespace}/pods/{pod}/portforward",
            query_params=[("ports", port)],
            header_params={"sec-websocket-protocol": _FORWARDING},
            auth_settings=["BearerToken"],
        )
        try:
            websocket = create_websocket(
                self._client.configuration,
                get_websocket_url(url),
                {name.lower(): value for name, value in headers.items()},
            )
        except (WebSocketException, OSError) as error:
            raise self._not_connected(error, pod, "portforward") from error
        try:
            status, text = port_forward.get(websocket, port, path, token)
        except OSError as error:
            raise AwayError(f"{service} (pod {pod}) does not answer: {error}") from error
        if status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN):
            raise UserError(f"{service} refuses: HTTP {status}: {_message(text)}".rstrip(": "))
        return _understood(status, text, f"{service}{path}")

    def _behind(self, service: str) -> tuple[str, int]:
        """Return a pod that runs behind a service, ready if one is, and its port."""
        name, number = service.split(":")
        core = f"/api/v1/namespaces/{self.namespace}"
        made = self.call("GET", f"{core}/services/{name}")
        if made is None:
            raise AwayError(f"there is no service {name}")
        labels = ",".join(f"{key}={value}" for key, value in made["spec"]["selector"].items())
        pods = [
            one
            for one in self.call("GET", f"{core}/pods", labelSelector=labels)["items"]
            if one["status"].get("phase") == "Running"
            and not one["metadata"].get("deletionTimestamp")
        ]
        if not pods:
            raise AwayError(f"no pod runs behind the service {name}")
        pod = max(pods, key=_is_ready)
        (port,) = (one for one in made["spec"]["ports"] if one["port"] == int(number))
        return pod["metadata"]["name"], _port_of(pod, port.get("targetPort", int(number)))

    def run(self, pod: str, container: str, command: Sequence[str]) -> tuple[int, str]:
        """Run a command in a container, as `kubectl exec` does.

        Returns:
            Its exit code and its output.

        Raises:
            AwayError: no answer, or it did not end in time.
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
            raise self._not_connected(error.reason, pod, "exec") from error
        done.run_forever(timeout=_TIMEOUT_S)
        if done.is_open():
            done.close()
            raise AwayError(f"{' '.join(command)} in pod {pod} did not end in {_TIMEOUT_S:.0f} s")
        return done.returncode, done.read_all()

    def _not_connected(self, error: object, pod: str, what: str) -> Exception:
        # `stream` gives a refused WebSocket as words alone.
        if f" {http.HTTPStatus.FORBIDDEN.value} " in str(error):
            return UserError(
                f"not allowed: you may not create pods/{what} in {self.namespace}; ask for that "
                "right"
            )
        return AwayError(f"pod {pod} does not answer: {_message(str(error))}")

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
            request = self._client.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params={"Accept": "application/json", **headers},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(*request, _request_timeout=_TIMEOUT_S)
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


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _port_of(pod: Object, target: int | str) -> int:
    """Return the number of a pod's port, which a service may give by its name."""
    if isinstance(target, int):
        return target
    ports = (one for each in pod["spec"]["containers"] for one in each.get("ports", []))
    return int(next(one["containerPort"] for one in ports if one.get("name") == target))


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
