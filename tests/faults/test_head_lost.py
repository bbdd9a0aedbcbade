"""The head of a cluster is lost; a new cluster with the same storage resumes."""

import json
import time
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from tests.faults.processes import descendants, finish, kill
from tests.faults.training import made, wait_until

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(500), pytest.mark.long]

CLIPS = 160
RUN = "--clips", CLIPS, "--checkpoint-every-clips", 8, "--log-every-clips", 8
# Ray's processes wait this long for a lost head, by default a minute; workers train on meanwhile.
PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"

MOST_S = 30  # after the loss, with the patience below


def cluster():
    """A head that runs no work, and a node for two workers."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    return cluster


def kill_head(cluster):
    """SIGKILL to all processes of the head, its GCS server first."""
    processes = cluster.head_node.all_processes
    for kind in sorted(processes, key=lambda kind: kind != "gcs_server"):
        kill(one.process.pid for one in processes[kind])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return made(tmp_path_factory.mktemp("head"))


@pytest.fixture(scope="module")
def undisturbed(place):
    """(sha256 of the weights, points in MLflow) of a run that keeps its head."""
    code, out, err = finish(place.start("undisturbed", *RUN))
    assert code == 0, err
    return json.loads(out.splitlines()[-1])["weights_sha256"], place.points("undisturbed")


@pytest.mark.parametrize("lost", ["head", "head-and-driver"])
def test_a_new_cluster_resumes_the_run_of_a_lost_one(place, undisturbed, lost, monkeypatch):
    monkeypatch.setenv(PATIENCE, "3")
    name = f"orphan-{lost}"
    first = cluster()
    try:
        process = place.start(name, *RUN, RAY_ADDRESS=first.address)
        wait_until(lambda: place.reached(name) >= 16, process=process)
        began = time.monotonic()
        if lost == "head-and-driver":  # a submitted run's driver is on the head
            process.kill()
        kill_head(first)
        print(f"SIGKILL to {lost}, {place.reached(name)} of {CLIPS} clips kept")
        code, out, err = finish(process)
        took = time.monotonic() - began
        print(f"the run has ended {took:.0f} s later, exit {code}, {place.reached(name)} clips")
        assert code != 0
        assert took < MOST_S
        assert "Traceback" not in out + err
        if lost == "head":
            assert "the head of the cluster does not answer" in out
            assert f"the same command resumes {name!r} from the last checkpoint" in out
        assert place.reached(name) < CLIPS
    finally:
        first.shutdown()

    second = cluster()
    try:
        code, out, err = finish(place.start(name, *RUN, RAY_ADDRESS=second.address))
    finally:
        second.shutdown()
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])["weights_sha256"]
    assert (found, place.points(name)) == undisturbed


def test_orphaned_workers_do_not_disturb_the_resumed_run(place, undisturbed):
    """They train beside the new workers, on the same machine, from the same checkpoint."""
    name = "beside"
    first = cluster()
    try:
        process = place.start(name, *RUN, RAY_ADDRESS=first.address)
        wait_until(lambda: place.reached(name) >= 16, process=process)
        below = descendants(first.list_all_nodes()[1].all_processes["raylet"][0].process.pid)
        orphans = [pid for pid, command in below if command.startswith("ray::RayTrainWorker")]
        process.kill()
        kill_head(first)
        finish(process)
        print(f"SIGKILL to head and driver, {place.reached(name)} of {CLIPS} clips kept")
        second = cluster()
        try:
            code, out, err = finish(place.start(name, *RUN, RAY_ADDRESS=second.address))
        finally:
            second.shutdown()
        assert len([pid for pid in orphans if Path(f"/proc/{pid}").exists()]) == 2
    finally:
        first.shutdown()
    assert code == 0, out + err
    found = json.loads(out.splitlines()[-1])["weights_sha256"]
    assert (found, place.points(name)) == undisturbed
