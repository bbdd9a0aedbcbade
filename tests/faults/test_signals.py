"""Real commands ended by signals: exit code, one line, MLflow run closed, no leftovers."""

import json
import signal
import tempfile
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.faults.processes import descendants, finish
from tests.faults.sharding import start as start_sharding
from tests.faults.training import made, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.distributed, pytest.mark.timeout(600)]

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return made(tmp_path_factory.mktemp("signals"))


@pytest.fixture
def temporary():
    """A temporary folder whose path is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def left_in(folder):
    """Scratch folders that commands left there."""
    return sorted(path.name for path in folder.glob("sttn-scratch-*"))


def gone(pids):
    def dead(pid):
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    return all(dead(pid) for pid in pids)


def ended(process, number):
    """Send a signal to a command; returns its exit code, stderr, and seconds until its end."""
    below = [pid for pid, _ in descendants(process.pid)]
    began = time.monotonic()
    process.send_signal(number)
    code, out, err = finish(process, 60)
    took = time.monotonic() - began
    wait_until(lambda: gone(below), 15)
    assert "Traceback" not in out + err
    return code, err, took


def status(place, name):
    run_id = json.loads(Path(place.storage, name, "run.json").read_text())["run_id"]
    return MlflowClient(place.tracking_uri).get_run(run_id).info.status


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_training_ends_on_each_signal(place, temporary, number):
    name = number.name
    process = place.start(name, TMPDIR=str(temporary))
    wait_until(lambda: place.reached(name) >= 4, process=process)
    wait_until(lambda: left_in(temporary), process=process)  # a checkpoint is being written
    code, err, took = ended(process, number)
    assert code == CODES[number]
    assert err.splitlines()[-1] == f"interrupted by {name}; run the same command to resume"
    assert took < 40
    assert status(place, name) == "KILLED"
    assert left_in(temporary) == []


def test_training_that_is_just_starting_ends_on_a_signal(place, temporary):
    process = place.start("early", TMPDIR=str(temporary))
    record = Path(place.storage, "early", "run.json")
    wait_until(record.exists, process=process)  # Ray is about to start
    code, err, _ = ended(process, signal.SIGTERM)
    assert code == 143
    assert err.splitlines()[-1] == "interrupted by SIGTERM; run the same command to resume"
    assert status(place, "early") == "KILLED"


def test_leftovers_of_a_killed_run_are_removed_by_the_next_command(place, temporary):
    process = place.start("killed", TMPDIR=str(temporary))
    wait_until(lambda: place.reached("killed") >= 4, process=process)
    wait_until(lambda: left_in(temporary), process=process)
    below = descendants(process.pid)
    process.kill()
    finish(process)
    workers = [pid for pid, command in below if command.startswith("ray::RayTrainWorker")]
    wait_until(lambda: gone(workers), 60)
    code, _, err = finish(place.start("killed", "--dry-run", TMPDIR=str(temporary)))
    assert code == 0, err
    assert left_in(temporary) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_sharding_ends_on_each_signal(videos, temporary, tmp_path, number):
    process = start_sharding(videos, tmp_path / "v1", TMPDIR=str(temporary))
    wait_until(lambda: left_in(temporary), process=process)  # a shard is being written
    code, err, _ = ended(process, number)
    assert code == CODES[number]
    assert err.splitlines()[-1] == f"interrupted by {number.name}; run the same command to resume"
    assert left_in(temporary) == []
