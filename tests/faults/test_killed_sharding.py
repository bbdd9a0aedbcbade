"""A repeatedly killed sharding ends with the digest of an undisturbed one."""

import json
import random
import time

import pytest

from data_pipeline.format import manifest
from data_pipeline.inspection.verify import verify
from tests.faults.processes import finish, kill, victims
from tests.faults.sharding import start

MOST_RUNS = 12


def kill_some(process, chance, kinds, seconds):
    """Kill some processes of a run at a random moment."""
    time.sleep(chance.uniform(0, seconds))
    kill(victims(process, chance.choice(kinds), "ray::Map"))


def killed_until_done(videos, output, seed, seconds, kinds=("driver", "node", "task")):
    chance = random.Random(seed)
    for run in range(MOST_RUNS):
        process = start(videos, output)
        if run < MOST_RUNS // 2:
            kill_some(process, chance, kinds, seconds)
        code, out, err = finish(process)
        assert "Traceback" not in err, err
        if code == 0:
            return json.loads(out.splitlines()[-1])["digest"], run
        # Killed after its manifest the data set is whole; before, it is no data set.
        assert not manifest.exists(str(output)) or verify(str(output)).differences == ()
    raise AssertionError("never came to an end")


def check(videos, undisturbed, folder, seed):
    digest, seconds = undisturbed
    output = folder / "v1"
    found, _ = killed_until_done(videos, output, seed, seconds)
    assert found == digest
    assert verify(str(output)).differences == ()
    assert not any(manifest.is_work(p.relative_to(output).as_posix()) for p in output.rglob("*"))


@pytest.mark.faults
@pytest.mark.distributed
@pytest.mark.parametrize("seed", range(3))
def test_sharding_killed_at_random_moments(videos, undisturbed, tmp_path, seed):
    check(videos, undisturbed, tmp_path, seed)


@pytest.mark.long
@pytest.mark.distributed
@pytest.mark.parametrize("seed", range(3, 25))
def test_sharding_killed_at_many_random_moments(videos, undisturbed, tmp_path, seed):
    check(videos, undisturbed, tmp_path, seed)
