"""Why pods do not run, in words, from their status and events."""

import re
from collections.abc import Iterable, Sequence

from k8s.api import Api, Object

# Waiting reasons of a container -> what to do about it.
_WAITING = {
    "ErrImagePull": "its image cannot be pulled",
    "ImagePullBackOff": "its image cannot be pulled",
    "ErrImageNeverPull": "its image is not on the node, and pullPolicy is Never",
    "InvalidImageName": "its image has an invalid name",
    "CreateContainerConfigError": "a Secret or ConfigMap that it names is missing",
    "CreateContainerError": "its container cannot be created",
    "RunContainerError": "its container cannot be started",
    "CrashLoopBackOff": "it ends again and again",
}
_MISSING = re.compile(
    r'(secret|configmap|persistentvolumeclaim) "([^"]+)" not found', re.IGNORECASE
)
_QUOTA = re.compile(r"exceeded quota: ([^,]+)")


def find_problems(api: Api, selector: str) -> list[str]:
    """List why pods do not run.

    Args:
        api: the cluster.
        selector: label selector of the pods.
    """
    where = f"/api/v1/namespaces/{api.namespace}"
    pods = (api.call("GET", f"{where}/pods", labelSelector=selector) or {}).get("items", [])
    failed = (api.call("GET", f"{where}/events", fieldSelector="type=Warning") or {}).get(
        "items", []
    )
    return describe_problems(pods, failed)


def describe_problems(pods: Sequence[Object], events: Iterable[Object] = ()) -> list[str]:
    """Describe each problem in a sentence: pods that do not run, pods that cannot be created.

    Args:
        pods: pods as the API server lists them.
        events: warning events of the namespace.
    """
    said: dict[str, list[str]] = {}
    for pod in pods:
        words = _pod_problem(pod)
        if words:
            said.setdefault(words, []).append(pod["metadata"]["name"])
    sentences = [f"pod {', '.join(sorted(names))}: {words}" for words, names in said.items()]
    names = {pod["metadata"]["name"] for pod in pods}
    for event in events:
        about, message = event["involvedObject"], event.get("message", "")
        if about.get("kind") == "Pod" and about.get("name") in names and _is_pending(about, pods):
            sentence = f"pod {about['name']}: {short(message)}"
            if (
                event.get("reason") in ("FailedMount", "FailedAttachVolume")
                and sentence not in sentences
            ):
                sentences.append(sentence)
        if quota := _QUOTA.search(message):
            sentences.append(f"the quota {quota.group(1)} is used up: {short(message)}")
    return list(dict.fromkeys(sentences))


def _is_pending(about: Object, pods: Iterable[Object]) -> bool:
    return any(
        pod["metadata"]["name"] == about["name"] and pod["status"].get("phase") == "Pending"
        for pod in pods
    )


def _pod_problem(pod: Object) -> str:
    status = pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _unschedulable(pod, short(condition.get("message", "")))
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


def _unschedulable(pod: Object, message: str) -> str:
    requests = [
        container.get("resources", {}).get("requests", {})
        for container in pod.get("spec", {}).get("containers", [])
    ]
    gpus = {name: n for one in requests for name, n in one.items() if "gpu" in name}
    if missing := _MISSING.search(message):
        return f"{missing.group(1).lower()} {missing.group(2)} is missing: make it"
    if gpus and all(f"Insufficient {name}" in message for name in gpus):
        wanted = ", ".join(f"{n} {name}" for name, n in gpus.items())
        return f"no node has {wanted} free: {message}"
    return f"no node fits: {message}"


def short(text: str) -> str:
    """Put a text on one line of at most 300 characters."""
    return " ".join(text.split())[:300].rstrip(".")
