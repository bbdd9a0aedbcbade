"""What keeps pods from running, in words, with the event behind it."""

import re
from collections.abc import Iterable, Sequence

from k8s.api import Api, Object

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
_QUOTA = re.compile(r"exceeded quota: ([^,]+)")


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
            sentence = f"pod {about['name']}: {short(message)}"
            if (
                event.get("reason") in ("FailedMount", "FailedAttachVolume")
                and sentence not in sentences
            ):
                sentences.append(sentence)
        if quota := _QUOTA.search(message):
            sentences.append(f"the quota {quota.group(1)} is used up: {short(message)}")
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
            return _unplaced(pod, short(condition.get("message", "")))
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
            return f"{words} ({container.get('image', '')}): {short(said)}"
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


def short(text: str) -> str:
    """In one line that is not too long."""
    return " ".join(text.split())[:300].rstrip(".")
