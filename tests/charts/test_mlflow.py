"""MLflow as the chart starts it: its own commands and variables, on this machine."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from mlops.tracking import names, registry
from tests.charts.rendering import files, objects, of_kind
from tests.faults.processes import free_port
from tests.mlops import foreign
from tests.mlops.server import basic, wait_until_healthy

pytestmark = [pytest.mark.waits, pytest.mark.distributed, pytest.mark.timeout(300)]

SECRETS = {"username": "admin", "password": "a password of 20 chars", "flask-secret-key": "x" * 32}
HOST = "sttn-mlflow.team.svc.cluster.local"


OUTSIDE = "mlflow.example.com"


def status(port, path, host, user=None, origin=None):
    """Of a GET with a Host header; of a POST with an origin."""
    headers = {"Host": host, **({"Authorization": basic(*user)} if user else {})}
    data = None
    if origin:
        headers |= {"Origin": origin, "Content-Type": "application/json"}
        data = b'{"max_results": 1}'
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers, data=data)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


class Server:
    """The pod's migration and its container, with /data, /etc/mlflow and the port elsewhere."""

    def __init__(self, folder: Path):
        manifests = objects({"mlflow": {"ingress": {"enabled": True, "host": OUTSIDE}}})
        (self.deployment,) = (
            one
            for one in of_kind(manifests, "Deployment")
            if one["metadata"]["name"].endswith("-mlflow")
        )
        self.folder, self.port = folder, free_port()
        (config,) = (
            one["data"]
            for one in of_kind(manifests, "ConfigMap")
            if one["metadata"]["name"] == "sttn-mlflow"
        )
        (folder / "etc").mkdir()
        (folder / "etc" / "auth.ini").write_text(self.here(config["auth.ini"]))

    def here(self, text):
        return (
            text.replace("/data/", f"{self.folder}/")
            .replace("/etc/mlflow", f"{self.folder}/etc")
            .replace("--port=5000", f"--port={self.port}")
            .replace("--workers=2", "--workers=1")
            .replace("--host=0.0.0.0", "--host=127.0.0.1")
        )

    def run(self, container):
        environment = {
            one["name"]: one.get("value") or SECRETS[one["valueFrom"]["secretKeyRef"]["key"]]
            for one in container["env"]
        }
        command = [
            self.here(word).replace("$(MLFLOW_BACKEND_STORE_URI)", self.here(
                environment["MLFLOW_BACKEND_STORE_URI"]
            ))
            for word in container["command"]
        ]  # fmt: skip
        known = {name: self.here(value) for name, value in environment.items()}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [str(Path(sys.executable).parent / command[0]), *command[1:]],
                env={"PATH": os.environ["PATH"], **known, "HOME": str(self.folder)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self):
        pod = self.deployment["spec"]["template"]["spec"]
        log = self.folder / "log"
        assert self.run(pod["initContainers"][0]).wait(90) == 0, log.read_text()
        self.process = self.run(pod["containers"][0])
        wait_until_healthy(self.process, self.port, log, HOST)
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        (HOST, 401),
        (f"{HOST}:5000", 401),
        ("sttn-mlflow:5000", 401),
        ("sttn-mlflow.team:5000", 401),
        ("localhost:5000", 401),
        ("127.0.0.1:41000", 401),
        (OUTSIDE, 401),
        ("evil.example", 403),
        ("sttn-mlflow.team.svc.cluster.local.evil.example", 403),
    ],
)
def test_it_answers_to_its_own_names_and_asks_who_comes(server, host, answer):
    assert status(server.port, "/api/2.0/mlflow/experiments/get?experiment_id=0", host) == answer


@pytest.mark.parametrize(
    ("origin", "answer"),
    [
        (f"https://{OUTSIDE}", 200),
        (f"https://{OUTSIDE}:8443", 200),
        ("http://127.0.0.1:5000", 200),
        ("https://evil.example", 403),
        (f"https://{OUTSIDE}.evil.example", 403),
    ],
)
def test_its_page_works_behind_the_ingress_and_other_pages_may_not_post(server, origin, answer):
    path = "/api/2.0/mlflow/experiments/search"
    user = SECRETS["username"], SECRETS["password"]
    assert status(server.port, path, OUTSIDE, user, origin) == answer


def test_its_first_administrator_comes_from_the_secret(server):
    path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    right = SECRETS["username"], SECRETS["password"]
    assert status(server.port, path, HOST, right) == 200
    assert status(server.port, path, HOST, ("admin", "password1234")) == 401


def test_a_version_is_registered_but_none_from_a_path_on_the_server(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", SECRETS["username"])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRETS["password"])
    uri = f"http://127.0.0.1:{server.port}"
    version = foreign.register(uri, tmp_path / "model")
    assert registry.resolve(uri, f"models:/{names.MODEL}@candidate").version == version.version
    assert list((server.folder / "artifacts").rglob("MLmodel"))
    known = registry.client(uri)
    with pytest.raises(MlflowException, match="Invalid model version source"):
        known.create_model_version(names.MODEL, f"{server.folder}/artifacts")


def test_a_changed_config_restarts_it():
    def noted(values):
        made = objects({**values, "controller": {"enabled": False}})
        (server,) = of_kind(made, "Deployment")
        return server["spec"]["template"]["metadata"]["annotations"]["sttn/config"]

    assert noted({}) == noted({})
    assert noted({"mlflow": {"auth": {"cacheSeconds": 5}}}) != noted({})
    assert "a password" not in "".join(files({}).values())
