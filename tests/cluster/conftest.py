"""A namespace of the cluster that KUBECONFIG names, an S3 server in it, and the chart.

| variable | what |
|---|---|
| `KUBECONFIG` | the cluster; the KubeRay operator is in it |
| `STTN_TEST_IMAGE` | of `k8s/image/`, `EXTRAS=server,stores`, where its nodes get it: name:tag |
| `STTN_TEST_NEXT_IMAGE` | the same image by another name, to upgrade to |
| `STTN_TEST_VOLUMES` | folder of the one node, for a cluster that makes no volumes itself |
| `STTN_TEST_RESTART_API` | a command that stops the API server and starts it again |
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import s3fs
import yaml

from k8s.api import Api
from k8s.rayjob_client import RayJobs
from k8s.rayjob_log import decoded
from tests.cluster.pods import GROUP, USER, serving
from tests.faults.processes import ROOT

NEEDED = ("KUBECONFIG", "STTN_TEST_IMAGE")
LOGIN = {"key": "tester", "secret": "no-secret"}  # moto lets anybody in


@pytest.fixture(scope="session")
def environment():
    lacking = [name for name in NEEDED if not os.environ.get(name)]
    if lacking:
        pytest.skip(f"no cluster to test on: {' and '.join(lacking)} not set (k8s/README.md)")
    return os.environ


class Place:
    """A namespace, and the commands as a user types them."""

    def __init__(self, namespace, volumes):
        self.namespace, self.volumes = namespace, volumes
        self.api = Api(namespace=namespace)
        self.jobs = RayJobs(self.api, "sttn")
        self.started: list[subprocess.Popen[str]] = []

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
        command, *rest = map(str, words)
        process = subprocess.Popen(
            [sys.executable, f"k8s/{command}.py", *self._placed(command, rest)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        self.started.append(process)
        return process

    def ended(self):
        """Commands that a failed test has left alone."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def _placed(self, command, words):
        first = 0 if command == "submit" else 1
        return [*words[:first], "--namespace", self.namespace, *words[first:]]

    def command(self, *words, code=0, seconds=900):
        """Run a command to its end; gives what it printed."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{words} did not end: {out}{err}") from None
        assert process.returncode == code, out + err
        return out + err

    @contextmanager
    def forwarded(self, service, port, kind="svc") -> Iterator[str]:
        """A service, or a pod, of the namespace on a port of this machine, as README does it."""
        target = f"{kind}/{service}"
        command = ["kubectl", "-n", self.namespace, "port-forward", target, f":{port}"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            try:
                assert found, line
                yield f"http://127.0.0.1:{found.group(1)}"
            finally:
                process.terminate()

    @contextmanager
    def store(self) -> Iterator[s3fs.S3FileSystem]:
        """The S3 server of the namespace."""
        with self.forwarded("store", 9000) as endpoint:
            yield s3fs.S3FileSystem(
                endpoint_url=endpoint,
                use_listings_cache=False,
                skip_instance_cache=True,
                config_kwargs={"read_timeout": 20, "retries": {"max_attempts": 1}},
                **LOGIN,
            )

    @contextmanager
    def away(self, *services) -> Iterator[None]:
        """Services that nobody answers for: whoever asks is turned away at once."""
        for service in services:
            self._select(service, "nobody")
        try:
            yield
        finally:
            for service in services:
                self._select(service, None)

    def login(self):
        """As whom MLflow lets in, in its variables."""
        secret = self.api.call("GET", f"{self.path('api/v1 secrets')}/sttn-mlflow")
        return {
            "MLFLOW_TRACKING_USERNAME": decoded(secret, "username"),
            "MLFLOW_TRACKING_PASSWORD": decoded(secret, "password"),
        }

    def mlops(self, command, *words, tracking):
        """What a command of mlops/ prints that asks the registry, forwarded to `tracking`."""
        told = {"PYTHONSAFEPATH": "1", "MLFLOW_TRACKING_URI": tracking, **self.login()}
        done = subprocess.run(
            [sys.executable, f"mlops/{command}.py", *map(str, words)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **told},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _select(self, service, away):
        path = f"{self.path('api/v1 services')}/{service}"
        body = self.api.call("GET", path)
        body["spec"]["selector"].pop("away", None)
        if away:
            body["spec"]["selector"]["away"] = away
        self.api.call("PUT", path, body)

    def helm_test(self, release="sttn"):
        """What `helm test` prints, that ended well."""
        done = subprocess.run(
            ["helm", "test", release, "--namespace", self.namespace, "--logs"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

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
def place(environment):
    """A namespace of the restricted standard, with volumes and the Secret of MLflow."""
    namespace = f"sttn-{secrets.token_hex(3)}"
    volumes = environment.get("STTN_TEST_VOLUMES", "")
    place = Place(namespace, Path(volumes) / namespace if volumes else None)
    api = place.api
    standard = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": standard}})
    made = _volume(place, "mlflow")
    login = {
        "username": "admin",
        "password": secrets.token_hex(12),
        "flask-secret-key": secrets.token_hex(32),
    }
    store = {"AWS_ACCESS_KEY_ID": LOGIN["key"], "AWS_SECRET_ACCESS_KEY": LOGIN["secret"]}
    for name, data in (("sttn-mlflow", login), ("sttn-store", store)):
        place.make("api/v1 secrets", {"metadata": {"name": name}, "stringData": data})
    yield place
    place.ended()
    api.call("DELETE", f"/api/v1/namespaces/{namespace}")
    if made:
        api.call("DELETE", f"/api/v1/persistentvolumes/{made}")
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
def bucket(place, environment):
    """An S3 server in a pod, with the bucket `lake`; gives the bucket's name."""
    serve = ["python", "-m", "moto.server", "-H", "0.0.0.0", "-p", "9000"]
    serving(place, "store", environment["STTN_TEST_IMAGE"], serve, 9000)
    with place.store() as store:
        store.mkdir("lake")
    return "lake"


def image_values(image):
    """Values of the chart for an image name:tag."""
    repository, _, tag = image.rpartition(":")
    return {"repository": repository, "tag": tag}


@pytest.fixture(scope="session")
def values(place, environment, tmp_path_factory):
    """The file of values: those beside this, with the image."""
    known = yaml.safe_load((Path(__file__).parent / "values.yaml").read_text())
    known["image"] |= image_values(environment["STTN_TEST_IMAGE"])
    file = tmp_path_factory.mktemp("values") / "values.yaml"
    file.write_text(yaml.safe_dump(known))
    return file


@pytest.fixture(scope="session")
def release(place, values, bucket):
    """The chart, installed by its command; all of it is ready."""
    out = place.command("cluster", "up", "--values", values)
    print(out)
    return out
