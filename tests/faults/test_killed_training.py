"""A killed and resumed run equals an undisturbed run bit for bit."""

import json
import os
import random
import signal
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.processes import finish, kill, victims
from tests.faults.s3 import faulty
from tests.faults.training import CLIPS, made, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.distributed]
MOST_RUNS = 12
NAME = "disturbed"
WORKER = "ray::RayTrainWorker"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return made(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def undisturbed(place):
    """(final JSON of the command, points in MLflow) of a run of two workers."""
    code, out, err = finish(place.start("undisturbed"))
    assert code == 0, err
    said = json.loads(out.splitlines()[-1])
    assert said["clips"] == CLIPS
    return said, place.points("undisturbed")


def killed(process, kind, place, name):
    """SIGKILL, printed with the progress; whether any process existed."""
    pids = victims(process, kind, WORKER)
    print(f"SIGKILL to {kind} {pids}, {place.reached(name)} of {CLIPS} clips kept")
    return kill(pids)


@pytest.mark.timeout(600)
def test_a_run_with_every_fault_equals_an_undisturbed_run(place, undisturbed):
    said, points = undisturbed
    process = place.start(NAME, "--watchdog-timeout-s", 8)
    wait_for_clips(place, 12, process)
    assert killed(process, "worker", place, NAME)
    refuse_a_second_start(place, process)
    wait_for_clips(place, 12, process)
    stopped = stop_a_worker(place, process)
    wait_for_clips(place, 12, process)
    assert killed(process, "driver", place, NAME)
    _, out, _ = finish(process)
    assert f"(process {stopped}) is stopped; its stacks:" in out
    assert "has stalled at clip" in out
    assert out.count("training/driver/trainer.py") >= 2  # in the stacks of both
    assert not Path(f"/proc/{stopped}").exists()

    run_out_of_storage(place)

    code, out, err = finish(place.start(NAME))
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])
    assert found["weights_sha256"] == said["weights_sha256"]
    assert place.points(NAME) == points


def wait_for_clips(place, clips, process, name=NAME):
    """Wait until this many more clips are in checkpoints."""
    wanted = place.reached(name) + clips
    wait_until(lambda: place.reached(name) >= wanted, process=process)


def refuse_a_second_start(place, process):
    code, _, err = finish(place.start(NAME))
    assert code == 1
    assert f"run {NAME!r} is held by process {process.pid}" in err


def stop_a_worker(place, process):
    """A rank that hangs, as in a system call: it cannot report that itself."""
    stopped = victims(process, "worker", WORKER)[0]
    print(f"SIGSTOP to worker {stopped}, {place.reached(NAME)} of {CLIPS} clips kept")
    os.kill(stopped, signal.SIGSTOP)
    return stopped


def run_out_of_storage(place):
    """Checkpoints cannot be written any more: it is reported, and in the end the run stops."""
    process = place.start(NAME)
    wait_for_clips(place, 4, process)
    folder = Path(place.storage, NAME, "checkpoints")
    folder.rename(folder.with_name("aside"))
    folder.touch()  # a file: nothing can be written into it
    print("a file in the place of the checkpoints' folder")
    code, out, err = finish(process)
    assert code == 1
    assert out.count("was not written") == 2
    assert "training continues, the checkpoint before is the newest" in out
    assert "nor were 2 before: see to the storage, then the same command resumes" in err
    assert "Traceback" not in out + err
    folder.unlink()
    folder.with_name("aside").rename(folder)
    assert place.reached(NAME) < CLIPS


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_a_run_killed_five_times_at_random_equals_an_undisturbed_run(place, undisturbed, seed):
    """Kills of worker, node and driver at random moments; the run is restarted when it ended."""
    said, points = undisturbed
    chance, name, left = random.Random(seed), f"random-{seed}", 5
    for _ in range(MOST_RUNS):
        process = place.start(name)
        wanted = place.reached(name) + chance.choice((0, 4, 8))
        while left:
            time.sleep(chance.uniform(0, 0.5))
            if process.poll() is not None:
                break
            if place.reached(name) < wanted:
                continue
            left -= killed(process, chance.choice(("worker", "node", "driver")), place, name)
            wanted = place.reached(name) + chance.choice((0, 4, 8))
        code, out, err = finish(process)
        assert "Traceback" not in err, err
        if code == 0:
            break
    assert left == 0
    assert json.loads(out.splitlines()[-1])["weights_sha256"] == said["weights_sha256"]
    assert place.points(name) == points


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_run_on_faulty_s3_that_is_killed_equals_an_undisturbed_run(
    place, undisturbed, endpoint, use_endpoint
):
    """With faulty requests all the time."""
    use_endpoint(endpoint)
    make = urllib.request.Request(f"{endpoint}/killed", method="PUT")
    urllib.request.urlopen(make).close()
    said, points = undisturbed
    there, name = replace(place, elsewhere="s3://killed/runs"), "remote"
    with faulty(endpoint, share=0.1, stall_seconds=0.5) as bad:
        process = there.start(name, AWS_ENDPOINT_URL=bad)
        for kind in ("worker", "driver"):
            wait_for_clips(there, 12, process, name)
            assert killed(process, kind, there, name)
        finish(process)
        code, out, err = finish(there.start(name, AWS_ENDPOINT_URL=bad))
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["weights_sha256"] == said["weights_sha256"]
    assert there.points(name) == points
