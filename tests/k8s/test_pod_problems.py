"""Pods and events as a cluster showed them -> sentences."""

import pytest

from k8s.pod_problems import describe_problems


def pod(name="head", *, waiting=None, unplaced="", requests=None, last=None):
    status = {"phase": "Pending"}
    if unplaced:
        condition = {"type": "PodScheduled", "status": "False", "message": unplaced}
        status["conditions"] = [condition]
    if waiting:
        state = {"waiting": {"reason": waiting[0], "message": waiting[1]}}
        container = {"name": "ray", "image": "e/x:1", "state": state, "lastState": last or {}}
        status["containerStatuses"] = [container]
    spec = {"containers": [{"resources": {"requests": requests or {}}}]}
    return {"metadata": {"name": name}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (pod(), None),
        (
            pod(waiting=("ImagePullBackOff", "Back-off pulling image")),
            "pod head: its image cannot be pulled (e/x:1): Back-off pulling image",
        ),
        (
            pod(waiting=("CreateContainerConfigError", 'secret "sttn-mlflow" not found')),
            "pod head: secret sttn-mlflow is missing: make it",
        ),
        (
            pod(
                waiting=("CrashLoopBackOff", "back-off"),
                last={"terminated": {"reason": "OOMKilled"}},
            ),
            "pod head: ray needs more memory than its limit and was killed",
        ),
        (
            pod(
                unplaced="0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
                requests={"nvidia.com/gpu": "8"},
            ),
            "pod head: no node has 8 nvidia.com/gpu free: 0/3 nodes are available: "
            "3 Insufficient nvidia.com/gpu",
        ),
        (
            pod(unplaced="0/1 nodes are available: 1 Insufficient cpu."),
            "pod head: no node fits: 0/1 nodes are available: 1 Insufficient cpu",
        ),
        (
            pod(unplaced='persistentvolumeclaim "lake" not found'),
            "pod head: persistentvolumeclaim lake is missing: make it",
        ),
    ],
)
def test_what_keeps_a_pod_from_running_is_one_sentence(one, sentence):
    assert describe_problems([one]) == ([sentence] if sentence else [])


def test_pods_with_the_same_trouble_are_named_together():
    both = [pod(name, unplaced="0/1 nodes: too many pods") for name in ("b", "a")]
    assert describe_problems(both) == ["pod a, b: no node fits: 0/1 nodes: too many pods"]


def test_a_quota_that_is_used_up_is_told_though_there_is_no_pod():
    message = 'pods "w" is forbidden: exceeded quota: team, requested: cpu=8, used: cpu=60'
    event = {"involvedObject": {"kind": "RayCluster", "name": "c"}, "message": message}
    assert describe_problems([], [event])[0].startswith("the quota team is used up: ")
