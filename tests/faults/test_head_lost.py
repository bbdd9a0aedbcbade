"""The head of a cluster is lost; a new cluster with the same storage goes on."""

import json
import os
import signal
import time

import pytest
from ray.cluster_utils import Cluster

from tests.faults.processes import finish
from tests.faults.training import made, wait_until

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(500), pytest.mark.long]

NAME = "orphan"
CLIPS = 160
RUN = "--clips", CLIPS, "--checkpoint-every-clips", 8, "--log-every-clips", 8
# Ray's processes look for a head that long, a minute unless told; workers learn on meanwhile.
PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setenv(PATIENCE, "3")


def cluster():
    """A head that runs no work, and a node for two workers."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    return cluster


def kill_head(cluster):
    """SIGKILL to everything that the head is made of, its store of the cluster's state first."""
    processes = cluster.head_node.all_processes
    for kind in sorted(processes, key=lambda kind: kind != "gcs_server"):
        for one in processes[kind]:
            try:
                os.kill(one.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def test_a_new_cluster_goes_on_where_the_lost_one_stood(tmp_path_factory):
    place = made(tmp_path_factory.mktemp("head"))
    code, out, err = finish(place.start("undisturbed", *RUN))
    assert code == 0, err
    said, points = json.loads(out.splitlines()[-1]), place.points("undisturbed")

    first = cluster()
    try:
        process = place.start(NAME, *RUN, RAY_ADDRESS=first.address)
        wait_until(lambda: place.reached(NAME) >= 16, process=process)
        began = time.monotonic()
        kill_head(first)
        print(f"SIGKILL to the head, {place.reached(NAME)} of {CLIPS} clips kept")
        code, out, err = finish(process)
        after = f"{time.monotonic() - began:.0f} s later"
        print(f"the run has ended {after}, exit {code}: {err.strip().splitlines()[-1]}")
        assert code != 0
        assert place.reached(NAME) < CLIPS
    finally:
        first.shutdown()

    second = cluster()
    try:
        code, out, err = finish(place.start(NAME, *RUN, RAY_ADDRESS=second.address))
    finally:
        second.shutdown()
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["weights_sha256"] == said["weights_sha256"]
    assert place.points(NAME) == points
