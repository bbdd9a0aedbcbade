"""A whole sharding whose way to S3 resets, stalls, answers 503 and cuts bodies."""

import json
import threading
import time

import pytest

from data_pipeline.inspection.verify import verify
from data_pipeline.storage import lake
from data_pipeline.storage.s3 import client
from tests.faults.processes import finish
from tests.faults.s3 import faulty
from tests.faults.sharding import start


def watch(uri, over, sizes):
    """Note every size that an object was ever listed with."""
    while not over.wait(0.05):
        for entry in lake.list_entries(uri):
            sizes.setdefault(entry.name, set()).add(entry.size)


def check(videos, undisturbed, endpoint, road, seed):
    uri = f"s3://bad-network-{seed}/curated/tiny/v1"
    road(endpoint)
    client().mkdir(f"bad-network-{seed}")
    over, sizes = threading.Event(), {}
    watcher = threading.Thread(target=watch, args=(uri, over, sizes))
    with faulty(endpoint, seed=seed, share=0.15) as bad:
        road(bad)
        process = start(videos, uri)
        road(endpoint)
        watcher.start()
        code, out, err = finish(process)
    time.sleep(0.2)
    over.set()
    watcher.join()
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["digest"] == undisturbed[0]
    assert verify(uri).differences == ()
    assert {name for name, seen in sizes.items() if len(seen) > 1} == set()
    assert any(name.endswith(".tar") for name in sizes)


@pytest.mark.faults
@pytest.mark.distributed
def test_same_digest_and_nothing_truncated(videos, undisturbed, endpoint, road):
    check(videos, undisturbed, endpoint, road, seed=0)


@pytest.mark.long
@pytest.mark.distributed
@pytest.mark.parametrize("seed", range(1, 9))
def test_same_digest_on_many_bad_roads(videos, undisturbed, endpoint, road, seed):
    check(videos, undisturbed, endpoint, road, seed)
