"""Of a release whose pods are all ready: what jobs would lack, and whether its store is reached."""

import pytest
import yaml

from data_pipeline.cli.command import UserError
from k8s.api import AwayError
from k8s.release_status import Component, components

READY = {
    "metadata": {"generation": 1},
    "spec": {"replicas": 1},
    "status": {"readyReplicas": 1, "updatedReplicas": 1, "observedGeneration": 1},
}
HEAD = {
    "name": "ray",
    "env": [{"name": "HOME", "value": "/tmp"}, {"name": "STTN_STORAGE", "value": "s3://lake/runs"}],
}
MLFLOW = {"name": "mlflow", "command": ["mlflow", "server", "--artifacts-destination=s3://lake/ml"]}

KEY = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "sttn-store", "key": "KEY"}}}
JOB = {
    "spec": {
        "containers": [{"env": [{"name": "HOME", "value": "/tmp"}, KEY]}],
        "volumes": [{"name": "lake", "persistentVolumeClaim": {"claimName": "lake"}}],
        "authOptions": {"secretName": "token"},
    }
}
HAVE = {"secrets/sttn-store": {}, "secrets/token": {}, "persistentvolumeclaims/lake": {}}


class Cluster:
    """An API server whose pods are named by their only container."""

    namespace = "video"

    def __init__(self, answer, *containers, have=HAVE):
        self.answer, self.containers, self.have, self.asked = answer, containers, have, []

    def call(self, _method, path, **query):
        kind, name = path.split("/")[-2:]
        if kind == "configmaps":
            return {"data": {f"{one}.yaml": yaml.safe_dump(JOB) for one in ("shard", "train")}}
        if kind in ("secrets", "persistentvolumeclaims"):
            found = self.have.get(f"{kind}/{name}")
            if isinstance(found, Exception):
                raise found
            return found
        if kind == "deployments":
            return READY if name == "sttn-mlflow" else None
        if name == "pods":
            wanted = "ray" if "ray.io/cluster" in query["labelSelector"] else "mlflow"
            pods = [one for one in self.containers if one["name"] == wanted]
            return {"items": [pod_of(one) for one in pods]}
        return {"items": []} if name == "events" else None

    def through(self, *_):
        return "OK"

    def run(self, pod, container, command):
        self.asked.append((pod, container, command[-1]))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def pod_of(container):
    return {
        "metadata": {"name": container["name"]},
        "spec": {"containers": [container]},
        "status": {"phase": "Running"},
    }


def pod_of_ray(group, image):
    labels = {"ray.io/group": group}
    return {"metadata": {"labels": labels}, "spec": {"containers": [{"image": image}]}}


@pytest.mark.parametrize(
    ("images", "strategy", "message"),
    [
        (("sttn:2", "sttn:2"), "Recreate", None),
        (
            ("sttn:1", "sttn:1"), "Recreate",
            "2 pods run sttn:1, not the image of this release: KubeRay replaces them",
        ),
        (
            ("sttn:2", "sttn:1"), "None",
            "1 pods run sttn:1, not the image of this release: kubectl delete pods --selector "
            "ray.io/cluster=sttn",
        ),
    ],
)  # fmt: skip
def test_a_standing_cluster_on_the_image_of_before_is_not_ready(images, strategy, message):
    head, worker = images
    pods = [pod_of_ray("headgroup", head), pod_of_ray("workers", worker)]
    template = {"template": {"spec": {"containers": [{"image": "sttn:2"}]}}}
    cluster = {
        "metadata": {"name": "sttn", "creationTimestamp": "2026-11-30T00:00:00Z"},
        "spec": {
            "upgradeStrategy": {"type": strategy},
            "headGroupSpec": template,
            "workerGroupSpecs": [{"groupName": "workers", **template}],
        },
        "status": {
            "readyWorkerReplicas": 1,
            "desiredWorkerReplicas": 1,
            "conditions": [{"type": "HeadPodReady", "status": "True"}],
        },
    }

    class Standing(Cluster):
        def call(self, method, path, **query):
            if path.endswith("/rayclusters/sttn"):
                return cluster
            if path.endswith("/pods"):
                return {"items": [{**one, "status": {"phase": "Running"}} for one in pods]}
            return super().call(method, path, **query)

    for pod in pods:
        pod["metadata"]["name"] = "one"
    ray = components(Standing((0, "")), "sttn")[0]
    assert (ray.name, ray.ready) == ("Ray", message is None)
    assert message is None or message in ray.detail


def test_the_head_is_asked_and_without_one_mlflow():
    cluster = Cluster((0, "was written"), HEAD, MLFLOW)
    assert components(cluster, "sttn")[-1] == Component(
        "store", True, "pod ray writes and reads s3://lake/runs"
    )
    assert cluster.asked == [("ray", "ray", "s3://lake/runs")]
    cluster = Cluster((0, "was written"), MLFLOW)
    assert components(cluster, "sttn")[-1].ready
    assert cluster.asked == [("mlflow", "mlflow", "s3://lake/ml")]


def test_a_pod_of_an_older_image_lacks_the_check_and_is_no_broken_store():
    answer = 1, "/opt/sttn/bin/python: No module named k8s.storage_check"
    part = components(Cluster(answer, HEAD), "sttn")[-1]
    assert (part.ready, part.detail) == (True, "not checked: pod ray runs another release of sttn")


@pytest.mark.parametrize(
    ("answer", "ready", "said"),
    [
        ((1, "refused: the store\n  does not answer\n"), False, "the store does not answer"),
        (AwayError("pod mlflow does not answer"), False, "pod mlflow does not answer"),
        (UserError("not allowed: pods/exec"), True, "not checked: not allowed: pods/exec"),
    ],
)
def test_what_is_wrong_is_said_and_who_may_not_ask_says_so(answer, ready, said):
    part = components(Cluster(answer, MLFLOW), "sttn")[-1]
    assert (part.name, part.ready) == ("store", ready)
    assert said in part.detail


@pytest.mark.parametrize(
    "containers",
    [(), ({**MLFLOW, "command": ["mlflow", "--artifacts-destination=/data/artifacts"]},)],
)
def test_where_no_pod_uses_the_store_nobody_is_asked(containers):
    cluster = Cluster((0, ""), *containers)
    part = components(cluster, "sttn")[-1]
    assert (part.ready, part.detail[:11], cluster.asked) == (True, "not checked", [])


@pytest.mark.parametrize(
    ("have", "ready", "said"),
    [
        (HAVE, True, "templates of shard, train"),
        (
            {},
            False,
            "what is not there: PersistentVolumeClaim lake, Secret sttn-store, Secret token",
        ),
        ({**HAVE, "persistentvolumeclaims/lake": None}, False, "there: PersistentVolumeClaim lake"),
        ({**HAVE, "secrets/sttn-store": UserError("not allowed")}, True, "templates of"),
    ],
)
def test_what_the_pods_of_jobs_would_wait_for_is_said_before_there_is_one(have, ready, said):
    there = {part.name: part for part in components(Cluster((0, ""), HEAD, have=have), "sttn")}
    assert there["jobs"].ready is ready
    assert said in there["jobs"].detail
    assert ("store" in there) is ready
