"""A namespace of the cluster that KUBECONFIG names, and the chart in it.

| variable | what |
|---|---|
| `KUBECONFIG` | the cluster; the KubeRay operator is in it |
| `STTN_TEST_IMAGE` | of `k8s/image/`, where its nodes can get it: name:tag |
| `STTN_TEST_VOLUMES` | folder of the one node, for a cluster that makes no volumes itself |
"""

import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from k8s.api import Api
from k8s.jobs import RayJobs
from tests.faults.processes import ROOT

NEEDED = ("KUBECONFIG", "STTN_TEST_IMAGE")
USER, GROUP = 1000, 100  # of the image


@pytest.fixture(scope="session")
def environment():
    lacking = [name for name in NEEDED if not os.environ.get(name)]
    if lacking:
        pytest.skip(f"no cluster to test on: {' and '.join(lacking)} not set (README, Kubernetes)")
    return os.environ


class Place:
    """A namespace, and the doors as a user types them."""

    def __init__(self, namespace, volumes):
        self.namespace, self.volumes = namespace, volumes
        self.api = Api(namespace=namespace)
        self.jobs = RayJobs(self.api, "sttn")

    def path(self, kind):
        """Of all objects of a kind, as 'api/v1 pods'."""
        group, name = kind.split()
        return f"/{group}/namespaces/{self.namespace}/{name}"

    def all(self, kind, **labels):
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        return self.api.call("GET", self.path(kind), labelSelector=selector)["items"]

    def make(self, kind, body):
        return self.api.call("POST", self.path(kind), body)

    def start(self, *words):
        door, *rest = map(str, words)
        return subprocess.Popen(
            [sys.executable, f"k8s/{door}.py", *self._placed(door, rest)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )

    def _placed(self, door, words):
        first = 0 if door == "submit" else 1
        return [*words[:first], "--namespace", self.namespace, *words[first:]]

    def door(self, *words, code=0, seconds=900):
        """Run a door to its end; gives what it printed."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{words} did not end: {out}{err}") from None
        assert process.returncode == code, out + err
        return out + err

    def pods(self, job, kind):
        """Names of a job's pods that run: kind is head or worker."""
        cluster = (self.jobs.find(job) or {}).get("status", {}).get("rayClusterName", "")
        found = self.all("api/v1 pods", **{"ray.io/cluster": cluster, "ray.io/node-type": kind})
        return [
            one["metadata"]["name"]
            for one in found
            if one["status"]["phase"] == "Running" and "deletionTimestamp" not in one["metadata"]
        ]


@pytest.fixture(scope="session")
def place(environment, tmp_path_factory):
    """A namespace of the restricted standard, with volumes and the Secret of MLflow."""
    namespace = f"sttn-{secrets.token_hex(3)}"
    volumes = environment.get("STTN_TEST_VOLUMES", "")
    place = Place(namespace, Path(volumes) / namespace if volumes else None)
    api = place.api
    standard = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": standard}})
    made = [_volume(place, name) for name in ("lake", "mlflow")]
    place.make(
        "api/v1 secrets",
        {
            "metadata": {"name": "sttn-mlflow"},
            "stringData": {
                "username": "admin",
                "password": secrets.token_hex(12),
                "flask-secret-key": secrets.token_hex(32),
            },
        },
    )
    yield place
    api.call("DELETE", f"/api/v1/namespaces/{namespace}")
    for volume in filter(None, made):
        api.call("DELETE", f"/api/v1/persistentvolumes/{volume}")
    end = time.monotonic() + 180
    while api.call("GET", f"/api/v1/namespaces/{namespace}") and time.monotonic() < end:
        time.sleep(2)
    if place.volumes:
        shutil.rmtree(place.volumes, ignore_errors=True)


def _volume(place, name):
    """A claim; and a volume for it, where the cluster makes none itself."""
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "2Gi"}}}
    volume = ""
    if place.volumes:
        folder = place.volumes / name
        folder.mkdir(parents=True)
        os.chown(folder, USER, GROUP)
        volume = f"{place.namespace}-{name}"
        spec |= {"storageClassName": "by-hand", "volumeName": volume}
        place.api.call(
            "POST",
            "/api/v1/persistentvolumes",
            {
                "metadata": {"name": volume},
                "spec": {
                    "capacity": {"storage": "2Gi"},
                    "accessModes": ["ReadWriteMany"],
                    "hostPath": {"path": str(folder)},
                    "storageClassName": "by-hand",
                    "persistentVolumeReclaimPolicy": "Retain",
                },
            },
        )
    place.make("api/v1 persistentvolumeclaims", {"metadata": {"name": name}, "spec": spec})
    return volume


@pytest.fixture(scope="session")
def values(place, environment, tmp_path_factory):
    """The file of values: those beside this, with the image."""
    known = yaml.safe_load((Path(__file__).parent / "values.yaml").read_text())
    repository, _, tag = environment["STTN_TEST_IMAGE"].rpartition(":")
    known["image"] |= {"repository": repository, "tag": tag}
    file = tmp_path_factory.mktemp("values") / "values.yaml"
    file.write_text(yaml.safe_dump(known))
    return file


@pytest.fixture(scope="session")
def release(place, values):
    """The chart, installed by its door; all of it is ready."""
    out = place.door("cluster", "up", "--values", values)
    print(out)
    return out
