"""A RayCluster that stands and scales itself."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from k8s.rayjob_log import token_of
from tests.cluster.conftest import image_values
from tests.cluster.pods import until
from tests.faults.processes import ROOT
from tests.tiny import write_videos

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

STANDING = Path(__file__).parent / "standing.yaml"


@pytest.fixture(scope="module")
def standing(place, release, values):
    """The release with a cluster; afterwards without again."""
    yield place.command("cluster", "up", "--values", values, STANDING)
    place.command("cluster", "up", "--values", values)


def workers(place):
    labels = {"ray.io/cluster": "sttn", "ray.io/node-type": "worker"}
    return [
        one["metadata"]["name"]
        for one in place.all("api/v1 pods", **labels)
        if "deletionTimestamp" not in one["metadata"]
    ]


def test_it_is_ready_and_a_job_of_helm_runs_on_it(place, standing):
    assert re.search(
        r"^Ray +ready +head ready, 0 of 0 workers, 0 of 0 GPUs seen by Ray", standing, re.MULTILINE
    ), standing
    said = place.helm_test()
    assert re.search(r"ray: sttn-self-test-\w+ ran at http://sttn-head-svc:8265", said)


def test_who_asks_for_a_worker_gets_a_pod_and_an_idle_one_goes(place, standing, tmp_path):
    with place.store() as store:
        for file in write_videos(tmp_path, [24, 24]):
            store.put_file(str(file), f"lake/raw-standing/{file.name}")
    assert workers(place) == []
    with place.forwarded("sttn-head-svc", 8265) as address:
        environment = {
            **os.environ,
            "PYTHONSAFEPATH": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token_of(place.api, "sttn"),
        }
        done = subprocess.run(
            [
                sys.executable, "k8s/submit.py", "shard", "--address", address, "--",
                "--source", "videos", "--input", "s3://lake/raw-standing", "--held-out", "video-0",
                "--width", "96", "--height", "96", "--static", "1", "--moving", "0",
                "--workers", "1", "--output", "s3://lake/curated/standing/v1",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "v1: written, 2 videos" in done.stdout
    assert len(workers(place)) == 1
    until(lambda: workers(place) == [], 180)


def head(place):
    """Name, uid and image of the head of the standing cluster."""
    labels = {"ray.io/cluster": "sttn", "ray.io/node-type": "head"}
    (pod,) = (
        one
        for one in place.all("api/v1 pods", **labels)
        if "deletionTimestamp" not in one["metadata"]
    )
    return pod["metadata"]["name"], pod["metadata"]["uid"], pod["spec"]["containers"][0]["image"]


def autoscaler_writes(place):
    """Change the workers of the RayCluster as Ray's autoscaler does when it removes one."""
    path, removed = "/spec/workerGroupSpecs/0/scaleStrategy", {"workersToDelete": ["gone"]}
    patch = json.dumps([{"op": "add", "path": path, "value": removed}])
    subprocess.run(
        [
            "kubectl", "-n", place.namespace, "patch", "raycluster", "sttn", "--type", "json",
            "--field-manager", "python-requests", "--patch", patch,
        ],
        check=True,
    )  # fmt: skip


def test_an_upgrade_replaces_the_pods_of_the_standing_cluster(
    place, standing, values, environment, tmp_path
):
    image = environment.get("STTN_TEST_NEXT_IMAGE")
    if not image:
        pytest.skip("no image to upgrade to: STTN_TEST_NEXT_IMAGE is not set")
    upgraded = tmp_path / "upgraded.yaml"
    upgraded.write_text(yaml.safe_dump({"image": image_values(image)}))
    _, uid, old = head(place)
    autoscaler_writes(place)
    with place.store() as store:
        before = store.find("lake")
    said = place.command("cluster", "up", "--values", values, STANDING, upgraded)
    print(said)
    assert f"pods run {old}, not the image of this release: KubeRay replaces them" in said
    _, new_uid, new = head(place)
    assert (new_uid != uid, new) == (True, image)
    assert "READY" not in place.command("cluster", "status")
    with place.store() as store:
        assert set(before) <= set(store.find("lake"))
