"""What is wrong on the cluster, in words, with the event behind it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data_pipeline.door import UserError
from k8s.api import Api, AwayError, Object
from k8s.log import token_of

# Waiting reasons of a container -> what to do about it.
_WAITING = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node, and pullPolicy is Never",
    "InvalidImageName": "its image has a name that cannot be",
    "CreateContainerConfigError": "a Secret or ConfigMap that it names is missing",
    "CreateContainerError": "its container cannot be made",
    "RunContainerError": "its container cannot be started",
    "CrashLoopBackOff": "it ends again and again",
}
_MISSING = re.compile(
    r'(secret|configmap|persistentvolumeclaim) "([^"]+)" not found', re.IGNORECASE
)
NO_OPERATOR = "nobody has looked at it: is KubeRay's operator running, and does it watch here?"
_NEWEST_FIELD = "preRunningDeadlineSeconds"  # of those that the chart uses
_QUOTA = re.compile(r"exceeded quota: ([^,]+)")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the system, as it is now."""

    name: str
    ready: bool
    detail: str
    """In words: how many, or what is wrong."""


def check_kinds(api: Api) -> None:
    """See that the cluster knows what the chart makes.

    Raises:
        UserError: KubeRay's CRDs are missing, or older than the fields that the chart uses.
    """
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayjobs.ray.io"
    try:
        made = api.call("GET", path)
    except UserError:
        # Whoever may not look at CRDs may still have them: then the API server tells.
        made = api.call("GET", "/apis/ray.io/v1")
        if made is not None:
            return
    if made is None:
        raise UserError(
            "this cluster lacks KubeRay's CRDs: install the operator, 1.6 or later, its CRDs by "
            "`kubectl apply --server-side`"
        )
    if _NEWEST_FIELD not in str(made["spec"]["versions"]):
        raise UserError(
            f"KubeRay's CRDs here are too old (no field {_NEWEST_FIELD}): bring them to 1.6 or "
            "later by `kubectl apply --server-side`; Helm never upgrades CRDs"
        )


def parts(api: Api, release: str) -> list[Part]:
    """The parts of a release: Ray, MLflow, the templates of jobs.

    Raises:
        UserError: there is no such release.
    """
    core, apps = (f"/{one}/namespaces/{api.namespace}" for one in ("api/v1", "apis/apps/v1"))
    if api.call("GET", f"{core}/configmaps/{release}-jobs") is None:
        raise UserError(
            f"there is no release {release!r} in namespace {api.namespace}: python k8s/cluster.py "
            "up --values FILE"
        )
    there = []
    ray = api.call("GET", f"/apis/ray.io/v1/namespaces/{api.namespace}/rayclusters/{release}")
    if ray is not None:
        there.append(_ray(api, ray, trouble(api, f"ray.io/cluster={release}")))
    for name in ("mlflow", "controller"):
        made = api.call("GET", f"{apps}/deployments/{release}-{name}")
        if made is not None:
            label = f"app.kubernetes.io/instance={release},app.kubernetes.io/component={name}"
            there.append(_deployment(name, made, trouble(api, label)))
    if any(part.name == "mlflow" and part.ready for part in there):
        there.append(_answers(api, f"{release}-mlflow:5000"))
    return there


def _ray(api: Api, cluster: Object, wrong: Sequence[str]) -> Part:
    status = cluster.get("status", {})
    have, want = status.get("readyWorkerReplicas", 0), status.get("desiredWorkerReplicas", 0)
    conditions = {one["type"]: one for one in status.get("conditions", [])}
    head = conditions.get("HeadPodReady", {}).get("status") == "True"
    gpus = _gpus(api, cluster["metadata"]["name"]) if head else "no"
    detail = (
        f"head {'ready' if head else 'not ready'}, {have} of {want} workers, {gpus} of "
        f"{status.get('desiredGPU', '0')} GPUs seen by Ray"
    )
    ready = head and have >= want and bool(status)
    if not status:
        wrong = [*wrong, NO_OPERATOR]
    return Part("Ray", ready, "; ".join([detail, *wrong]) if not ready else detail)


def _gpus(api: Api, cluster: str) -> str:
    """What Ray itself counts; in words, for it may not be to be had."""
    try:
        token = token_of(api, cluster)
        answer = api.through(f"{cluster}-head-svc:8265", "/api/v0/nodes", token)
    except (AwayError, UserError):
        return "unknown"
    nodes = answer["data"]["result"]["result"] if isinstance(answer, dict) else []
    seen = sum(one["resources_total"].get("GPU", 0) for one in nodes if one["state"] == "ALIVE")
    return f"{seen:g}"


def _deployment(name: str, made: Object, wrong: Sequence[str]) -> Part:
    have = made.get("status", {}).get("readyReplicas", 0)
    want = made["spec"].get("replicas", 1)
    current = made["status"].get("observedGeneration") == made["metadata"]["generation"]
    updated = made["status"].get("updatedReplicas", 0) >= want
    ready = have >= want and current and updated
    detail = f"{have} of {want} pods"
    return Part(name, ready, "; ".join([detail, *wrong]) if not ready else detail)


def _answers(api: Api, service: str) -> Part:
    try:
        said = api.through(service, "/health")
    except AwayError as error:
        return Part("registry", False, str(error))
    except UserError as error:
        return Part("registry", True, f"not asked: {error}")
    return Part("registry", said is not None, f"MLflow answers: {said}")


def trouble(api: Api, selector: str) -> list[str]:
    """What keeps pods from running.

    Args:
        api: the cluster.
        selector: of the pods, by labels.
    """
    where = f"/api/v1/namespaces/{api.namespace}"
    pods = (api.call("GET", f"{where}/pods", labelSelector=selector) or {}).get("items", [])
    failed = (api.call("GET", f"{where}/events", fieldSelector="type=Warning") or {}).get(
        "items", []
    )
    return found(pods, failed)


def found(pods: Sequence[Object], events: Iterable[Object] = ()) -> list[str]:
    """A sentence a trouble: of pods that do not run, and of pods that cannot be made.

    Args:
        pods: as the API server lists them.
        events: warnings of the namespace.
    """
    said: dict[str, list[str]] = {}
    for pod in pods:
        words = _of_pod(pod)
        if words:
            said.setdefault(words, []).append(pod["metadata"]["name"])
    sentences = [f"pod {', '.join(sorted(names))}: {words}" for words, names in said.items()]
    names = {pod["metadata"]["name"] for pod in pods}
    for event in events:
        about, message = event["involvedObject"], event.get("message", "")
        if about.get("kind") == "Pod" and about.get("name") in names and _waits(about, pods):
            sentence = f"pod {about['name']}: {_short(message)}"
            if (
                event.get("reason") in ("FailedMount", "FailedAttachVolume")
                and sentence not in sentences
            ):
                sentences.append(sentence)
        if quota := _QUOTA.search(message):
            sentences.append(f"the quota {quota.group(1)} is used up: {_short(message)}")
    return list(dict.fromkeys(sentences))


def _waits(about: Object, pods: Iterable[Object]) -> bool:
    return any(
        pod["metadata"]["name"] == about["name"] and pod["status"].get("phase") == "Pending"
        for pod in pods
    )


def _of_pod(pod: Object) -> str:
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _unplaced(pod, _short(condition.get("message", "")))
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    for container in containers:
        waiting = container.get("state", {}).get("waiting", {})
        words = _WAITING.get(waiting.get("reason", ""))
        if words:
            ended = container.get("lastState", {}).get("terminated", {})
            if ended.get("reason") == "OOMKilled":
                return f"{container['name']} needs more memory than its limit and was killed"
            said = waiting.get("message", "")
            missing = _MISSING.search(said)
            if missing:
                return f"{missing.group(1).lower()} {missing.group(2)} is missing: make it"
            return f"{words} ({container.get('image', '')}): {_short(said)}"
    return ""


def _unplaced(pod: Object, message: str) -> str:
    asked = [
        container.get("resources", {}).get("requests", {})
        for container in pod.get("spec", {}).get("containers", [])
    ]
    gpus = {name: n for one in asked for name, n in one.items() if "gpu" in name}
    if missing := _MISSING.search(message):
        return f"{missing.group(1).lower()} {missing.group(2)} is missing: make it"
    if gpus and all(f"Insufficient {name}" in message for name in gpus):
        wanted = ", ".join(f"{n} {name}" for name, n in gpus.items())
        return f"no node has {wanted} free: {message}"
    return f"no node fits: {message}"


def _short(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(".")
