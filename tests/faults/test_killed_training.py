"""A run that is killed and gone on with is, bit for bit, the run that nobody disturbed."""

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.processes import descendants, finish
from tests.faults.training import CLIPS, made, wait_until

pytestmark = pytest.mark.distributed
MOST_RUNS = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return made(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def undisturbed(place):
    """(what the door says at the end, points in MLflow, seconds) of a run of two workers."""
    began = time.monotonic()
    code, out, err = finish(place.start("undisturbed"))
    assert code == 0, err
    said = json.loads(out.splitlines()[-1])
    assert said["clips"] == CLIPS
    return said, place.points("undisturbed"), time.monotonic() - began


def victims(process, kind):
    """Processes to kill: a worker, the node with everything on it, or the driver."""
    if kind == "driver":
        return [process.pid]
    below = descendants(process.pid)
    if kind == "worker":
        return [pid for pid, command in below if command.startswith("ray::RayTrainWorker")][:1]
    return [pid for pid, command in below if "raylet" in command.split("\0")[0]]


def kill(process, kind, place, name):
    """SIGKILL, said with the moment."""
    for pid in victims(process, kind):
        print(f"SIGKILL to {kind} {pid}, {place.reached(name)} of {CLIPS} clips kept")
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def test_worker_and_driver_killed_and_a_second_start_refused(place, undisturbed):
    said, points, _ = undisturbed
    process = place.start("killed")
    wait_until(lambda: place.reached("killed") >= 12, process=process)
    kill(process, "worker", place, "killed")
    at = place.reached("killed")

    code, _, err = finish(place.start("killed"))
    assert code == 1
    assert f"run 'killed' is in the hands of process {process.pid}" in err

    wait_until(lambda: place.reached("killed") >= at + 12, process=process)
    kill(process, "driver", place, "killed")
    finish(process)
    assert place.reached("killed") < CLIPS

    code, out, err = finish(place.start("killed"))
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["weights_sha256"] == said["weights_sha256"]
    assert place.points("killed") == points


def test_a_stopped_worker_is_found_shown_and_replaced(place, undisturbed):
    said, points, _ = undisturbed
    process = place.start("hangs", "--hang-after-s", 8)
    wait_until(lambda: place.reached("hangs") >= 12, process=process)
    stopped = victims(process, "worker")[0]
    print(f"SIGSTOP to worker {stopped}, {place.reached('hangs')} of {CLIPS} clips kept")
    os.kill(stopped, signal.SIGSTOP)
    code, out, err = finish(process)
    assert code == 0, err
    assert f"(process {stopped}) is stopped; its stacks:" in out
    assert "has got no further than clip" in out
    assert out.count("training/trainer.py") >= 2  # in the stacks of both
    assert not Path(f"/proc/{stopped}").exists()
    assert json.loads(out.splitlines()[-1])["weights_sha256"] == said["weights_sha256"]
    assert place.points("hangs") == points


def test_storage_that_takes_nothing_is_said_and_in_the_end_stops_the_run(place, undisturbed):
    said, points, _ = undisturbed
    process = place.start("full")
    wait_until(lambda: place.reached("full") >= 12, process=process)
    folder = place.storage / "full" / "checkpoints"
    folder.rename(folder.with_name("aside"))
    folder.touch()  # no folder: nothing can be written into it
    print("a file in the place of the checkpoints' folder")
    code, out, err = finish(process)
    assert code == 1
    assert out.count("was not written") == 2
    assert "the run goes on, the checkpoint before is the newest" in out
    assert "nor were 2 before: see to the storage, then the same command goes on" in err
    assert "Traceback" not in out + err
    folder.unlink()
    folder.with_name("aside").rename(folder)
    assert 12 <= place.reached("full") < CLIPS
    code, out, err = finish(place.start("full"))
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["weights_sha256"] == said["weights_sha256"]
    assert place.points("full") == points


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_killed_five_times_at_random(place, undisturbed, seed):
    """Worker, node and driver, whenever it comes; started again when that ended the run."""
    said, points, seconds = undisturbed
    chance, name, left = random.Random(seed), f"random {seed}".replace(" ", "-"), 5
    for _ in range(MOST_RUNS):
        process = place.start(name)
        while left and process.poll() is None:
            time.sleep(chance.uniform(0, seconds))
            if process.poll() is None:
                kill(process, chance.choice(("worker", "node", "driver")), place, name)
                left -= 1
        code, out, err = finish(process)
        assert "Traceback" not in err, err
        if code == 0:
            break
    assert json.loads(out.splitlines()[-1])["weights_sha256"] == said["weights_sha256"]
    assert place.points(name) == points
