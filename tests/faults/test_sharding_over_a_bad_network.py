"""A whole sharding through a proxy to S3 that resets, stalls, answers 503 and cuts bodies."""

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


def check(videos, undisturbed, endpoint, use_endpoint, seed):
    uri = f"s3://bad-network-{seed}/curated/tiny/v1"
    use_endpoint(endpoint)
    client().mkdir(f"bad-network-{seed}")
    over, sizes = threading.Event(), {}
    watcher = threading.Thread(target=watch, args=(uri, over, sizes))
    with faulty(endpoint, seed=seed, share=0.15) as bad:
        use_endpoint(bad)
        process = start(videos, uri)
        use_endpoint(endpoint)
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
def test_sharding_over_a_bad_network_gives_the_same_digest(
    videos, undisturbed, endpoint, use_endpoint
):
    check(videos, undisturbed, endpoint, use_endpoint, seed=0)


@pytest.mark.long
@pytest.mark.distributed
@pytest.mark.parametrize("seed", range(1, 9))
def test_sharding_over_many_bad_networks_gives_the_same_digest(
    videos, undisturbed, endpoint, use_endpoint, seed
):
    check(videos, undisturbed, endpoint, use_endpoint, seed)
