"""Why Kueue does not start a job or a cluster, in words, from the conditions of its Workload."""

import re
from collections.abc import Sequence

from data_pipeline.cli.command import UserError
from k8s.api import Api, Object

QUEUE = "kueue.x-k8s.io/queue-name"  # label: the LocalQueue of an object
_OWNER = "kueue.x-k8s.io/job-uid"  # label of a Workload: uid of the object that it stands for
_VERSIONS = ("v1beta2", "v1beta1")  # since Kueue 0.15; before

_NOT_COVERED = re.compile(r"resource (\S+) unavailable in ClusterQueue")


def queue_of(made: Object) -> str:
    """Return the LocalQueue that an object is in; "" = none."""
    return str(made["metadata"].get("labels", {}).get(QUEUE, ""))


def why_queued(api: Api, made: Object) -> list[str]:
    """List why an object waits in its queue; empty for one that is in none, or was admitted.

    Args:
        api: the cluster.
        made: RayJob or RayCluster.
    """
    queue = queue_of(made)
    if not queue:
        return []
    try:
        found = _workloads(api, made["metadata"]["uid"])
    except UserError as error:
        return [f"queue {queue}: its Workload was not read: {error}"]
    if found is None:
        return [f"queue {queue}: this cluster has no Kueue, and nothing else starts it"]
    return describe_workloads(queue, found)


def describe_workloads(queue: str, workloads: Sequence[Object]) -> list[str]:
    """Describe what the Workloads of one object wait for, each in a sentence.

    Args:
        queue: name of its LocalQueue.
        workloads: as the API server lists them.
    """
    if not workloads:
        return [
            f"queue {queue}: Kueue has made no Workload of it: does Kueue run, and take Ray's jobs "
            "of this namespace?"
        ]
    sentences = []
    for one in workloads:
        conditions = {c["type"]: c for c in one.get("status", {}).get("conditions", [])}
        if conditions.get("Admitted", {}).get("status") == "True":
            continue
        said = [
            str(conditions[kind].get("message", ""))
            for kind, status in (("Evicted", "True"), ("QuotaReserved", "False"))
            if conditions.get(kind, {}).get("status") == status
        ]
        why = "; ".join(filter(None, said)) or "Kueue has not looked at it yet"
        sentences.append(f"queue {queue}: {why}{_cure(why)}")
    return sentences


def _cure(why: str) -> str:
    """Return what to do about a message, where Kueue does not say it itself."""
    lacking = sorted(set(_NOT_COVERED.findall(why)))
    if not lacking:
        return ""
    return (
        f". It waits without end until the ClusterQueue covers {', '.join(lacking)} "
        "(spec.resourceGroups; k8s/README.md has one that fits)"
    )


def _workloads(api: Api, uid: str) -> list[Object] | None:
    """Return the Workloads of an object; None where the cluster has no such kind.

    Raises:
        UserError: not allowed.
    """
    for version in _VERSIONS:
        path = f"/apis/kueue.x-k8s.io/{version}/namespaces/{api.namespace}/workloads"
        answer = api.call("GET", path, labelSelector=f"{_OWNER}={uid}")
        if answer is not None:
            items: list[Object] = answer["items"]
            return items
    return None
