"""A real MLflow server that dies in the middle of a run, and comes back."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.faults.processes import finish, free_port
from tests.faults.training import CLIPS, made, wait_until

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(400)]


class Server:
    """MLflow on loopback, on one port all its life."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                "--port", str(self.port), "--workers", "1",
                "--backend-store-uri", f"sqlite:///{self.folder}/server.db",
                "--artifacts-destination", str(self.folder / "artifacts"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )  # fmt: skip
        wait_until(self.answers, 90)

    def answers(self):
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as response:
                return response.status == 200
        except OSError:
            return False

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return made(tmp_path_factory.mktemp("away"))


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def test_mlflow_dies_and_comes_back_while_a_run_goes_on(place, server):
    at = "--tracking-uri", server.uri
    process = place.start("away", *at)
    wait_until(lambda: place.reached("away") >= 12, process=process)
    server.kill()
    gone, kept = time.monotonic(), place.reached("away")
    print(f"SIGKILL to MLflow, {kept} of {CLIPS} clips kept")
    wait_until(lambda: place.reached("away") >= kept + 20, 20, process)
    print(f"20 clips later, after {time.monotonic() - gone:.1f} s")
    server.start()
    code, out, err = finish(process)
    assert code == 0, err
    said = json.loads(out.splitlines()[-1])

    code, out, err = finish(place.start("there"))  # SQLite, which is never away
    assert code == 0, err
    assert said["weights_sha256"] == json.loads(out.splitlines()[-1])["weights_sha256"]
    assert place.points("away", server.uri) == place.points("there")


def test_without_mlflow_a_run_does_not_begin_and_says_so(place):
    nobody = "http://127.0.0.1:9"
    began = time.monotonic()
    code, _, err = finish(place.start("never", "--tracking-uri", nobody))
    assert code == 2
    assert f"MLflow at {nobody} does not answer" in err
    assert err.count("\n") == 1
    assert time.monotonic() - began < 60
    assert not (place.storage / "never" / "run.json").exists()
