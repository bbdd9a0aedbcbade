"""A real MLflow server: slow, failing, killed in the middle of a run, and back."""

import json
import threading
import time
from pathlib import Path

import pytest

from tests.faults.processes import finish, start_command
from tests.faults.s3 import faulty
from tests.faults.training import CLIPS, made, wait_until
from tests.mlops import foreign
from tests.mlops.server import Server
from tests.tiny import shard_tiny, write_videos

pytestmark = [pytest.mark.faults, pytest.mark.distributed, pytest.mark.timeout(700)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return made(tmp_path_factory.mktemp("away"))


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path) as server:
        yield server


def test_training_continues_while_mlflow_fails_and_comes_back(place, server):
    """With every network fault, among them server errors and missing answers."""
    bad = threading.Event()

    def wait_for_clips(clips, what):
        began, from_clips = time.monotonic(), place.reached("away")
        wait_until(lambda: place.reached("away") >= from_clips + clips, 20, process)
        print(f"{what}: {clips} of {CLIPS} clips in {time.monotonic() - began:.1f} s")

    with faulty(server.uri, share=0.6, stall_seconds=8, on=bad.is_set) as uri:
        process = place.start("away", "--tracking-uri", uri)
        wait_until(lambda: place.reached("away") >= 8, process=process)
        wait_for_clips(16, "MLflow there")
        bad.set()
        wait_for_clips(16, "most requests fail or wait")
        server.kill()
        wait_for_clips(16, "SIGKILL to MLflow")
        server.start()
        bad.clear()
        code, out, err = finish(process)
    assert code == 0, err
    said = json.loads(out.splitlines()[-1])

    code, out, err = finish(place.start("there"))  # SQLite, which is never away
    assert code == 0, err
    assert said["weights_sha256"] == json.loads(out.splitlines()[-1])["weights_sha256"]
    assert place.points("away", server.uri) == place.points("there")


def test_a_run_without_mlflow_does_not_start(place):
    unreachable = "http://127.0.0.1:9"
    began = time.monotonic()
    code, _, err = finish(place.start("never", "--tracking-uri", unreachable))
    assert code == 2
    assert f"MLflow at {unreachable} does not answer" in err
    assert err.count("\n") == 1
    assert time.monotonic() - began < 60
    assert not Path(place.storage, "never", "run.json").exists()


@pytest.mark.long
def test_an_evaluation_survives_a_short_outage_at_its_end(server, tmp_path):
    """MLflow is killed while the model works, and is back only after that."""
    at_work = tmp_path / "at-work"
    body = f"__import__('pathlib').Path({str(at_work)!r}).touch()\n        {foreign.GREY}"
    foreign.register(server.uri, tmp_path / "model", body)
    data = shard_tiny(tmp_path / "tiny" / "v1", write_videos(tmp_path / "videos", [12, 12])).uri
    process = start_command(
        "mlops/evaluate.py", "--tracking-uri", server.uri, "--data", data, "--workers", 1,
        "--leases", tmp_path / "leases", "--clips-per-video", 1, "--frames-per-clip", 4,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not at_work.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    server.kill()
    time.sleep(15)
    assert process.poll() is None, process.stderr.read()
    server.start()
    code, out, err = finish(process)
    assert code == 0, err
    assert "models:/sttn/1 is evaluated" in out
