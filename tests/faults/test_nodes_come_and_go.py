"""A run on a real cluster of several nodes that are warned, lost and added."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
from mlflow import MlflowClient
from ray.cluster_utils import Cluster

from data_pipeline.cli.ray_session import actor_beside_driver, ray_session
from tests.faults.processes import finish
from tests.faults.training import made, wait_until

pytestmark = [pytest.mark.faults, pytest.mark.distributed, pytest.mark.timeout(900)]

GRACE_S = 60
LOG_CLIPS = 20
FLOAT32_NOISE = 1e-5
NAME = "elastic"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return made(tmp_path_factory.mktemp("nodes"))


@pytest.fixture
def cluster():
    """A head that runs no work, and two nodes of one CPU."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        yield cluster
    finally:
        cluster.shutdown()


def said(words, began):
    print(f"{time.monotonic() - began:5.0f} s: {words}")


def warn(cluster, node):
    """Drain a node as a cloud's node does after a preemption notice."""
    subprocess.run(
        [
            sys.executable, "-m", "ray.scripts.scripts", "drain-node",
            "--address", cluster.address, "--node-id", node.node_id,
            "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "taken away",
            "--deadline-remaining-seconds", str(GRACE_S),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )  # fmt: skip


def test_actors_beside_the_driver_run_on_its_node(cluster, monkeypatch):
    for _ in range(3):
        cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    with ray_session(1):
        places = ray.get([actor_beside_driver(_Where).node.remote() for _ in range(6)])
        assert set(places) == {ray.get_runtime_context().get_node_id()}


class _Where:
    def node(self):
        return ray.get_runtime_context().get_node_id()


def test_a_run_shrinks_to_one_node_and_grows_back_to_two(place, cluster):
    began = time.monotonic()
    _, second = (cluster.add_node(num_cpus=1) for _ in range(2))
    cluster.wait_for_nodes()
    process = place.start(
        NAME, "--clips", 100_000, "--workers", 2, "--min-workers", 1,
        "--checkpoint-every-clips", 200, "--log-every-clips", LOG_CLIPS,
        RAY_ADDRESS=cluster.address,
    )  # fmt: skip
    try:
        wait_until(lambda: place.reached(NAME) >= 200, process=process)
        said(f"checkpoints by {place.worlds(NAME)} workers", began)

        kept = len(place.worlds(NAME))
        warn(cluster, second)
        warned = time.monotonic()
        said("one node warned", began)
        wait_until(lambda: any(one % 200 for one in place.checkpoints(NAME)), GRACE_S, process)
        said(f"checkpoint after {time.monotonic() - warned:.0f} s of {GRACE_S}", began)
        cluster.remove_node(second, allow_graceful=False)
        said("that node killed", began)

        wait_until(lambda: place.worlds(NAME)[kept:].count(1) >= 1, 240, process)
        said(f"checkpoints by {place.worlds(NAME)} workers", began)
        cluster.add_node(num_cpus=1)
        said("a node added", began)
        ones = len(place.worlds(NAME))
        wait_until(lambda: 2 in place.worlds(NAME)[ones:], 240, process)
        said(f"checkpoints by {place.worlds(NAME)} workers", began)
    finally:
        process.kill()
        finish(process)
    assert_clips_are_in_order(place)


def assert_clips_are_in_order(place):
    """After the loss of a node one worker trains on the same clips as two: losses are equal."""
    by_world = dict(zip(place.checkpoints(NAME), place.worlds(NAME), strict=True))
    first_alone = min(clips for clips, world in by_world.items() if world == 1)
    last_together = max(clips for clips in by_world if clips < first_alone)
    assert by_world[last_together] == 2
    fork_run(place, last_together)
    to = min(first_alone, last_together // LOG_CLIPS * LOG_CLIPS + 3 * LOG_CLIPS)
    process = place.start(
        "straight", "--clips", to, "--workers", 2, "--checkpoint-every-clips", 200,
        "--log-every-clips", LOG_CLIPS,
    )  # fmt: skip
    code, _, err = finish(process)
    assert code == 0, err
    straight, elastic = place.losses("straight"), place.losses(NAME)
    assert len(straight) >= 2
    print(
        f"loss by clips of two workers {straight}, of the one that was left "
        f"{ {clips: elastic[clips] for clips in straight} }"
    )
    for clips, loss in straight.items():
        assert elastic[clips] == pytest.approx(loss, abs=FLOAT32_NOISE)
    one_interval_later = [elastic[clips + LOG_CLIPS] for clips in straight]
    assert list(straight.values()) != pytest.approx(one_interval_later, abs=100 * FLOAT32_NOISE)


def fork_run(place, clips):
    """Make a run "straight" with the state of the other one after this many clips."""
    before, after = Path(place.storage, NAME), Path(place.storage, "straight")
    shutil.copytree(place.checkpoints(NAME)[clips], after / "checkpoints" / f"clips-{clips:09d}")
    record = json.loads((before / "run.json").read_text())
    client = MlflowClient(place.tracking_uri, place.tracking_uri)
    experiment = client.get_run(record["run_id"]).info.experiment_id
    run = client.create_run(experiment, run_name="straight")
    (after / "run.json").write_text(json.dumps({**record, "run_id": run.info.run_id}))
