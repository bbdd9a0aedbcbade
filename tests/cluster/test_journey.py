"""From nothing to a promoted model on a real cluster, with a worker and a head lost on the way."""

import re
import subprocess
import time

import pytest
from safetensors.numpy import load_file

from tests.tiny import write_videos

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]

CLIPS = 240
RUN = ["--clips", CLIPS, "--workers", 2, "--checkpoint-every-clips", 8, "--log-every-clips", 8]


@pytest.fixture(scope="module")
def videos(place):
    """Videos on the volume of the lake."""
    if place.volumes is None:
        pytest.skip("videos are put on the volume of the one node: set STTN_TEST_VOLUMES")
    write_videos(place.volumes / "lake/videos", [24, 24, 24])
    return "/lake/videos"


@pytest.fixture(scope="module")
def data_set(release, place, videos):
    return place.door(
        "submit", "shard", "--", "--source", "videos", "--input", videos,
        "--output", "/lake/curated/tiny/v1", "--held-out", "video-0", "--width", 96,
        "--height", 96, "--stationary", 1, "--moving", 1, "--workers", 1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(place, data_set):
    return place.door("submit", "train", "smoke", "--json", "--", "--name", "undisturbed", *RUN)


def reached(place, name):
    """Clips of a run's newest checkpoint."""
    folder = place.volumes / f"lake/runs/{name}/checkpoints"
    return max((int(one.parent.name[6:]) for one in folder.glob("*/manifest.json")), default=0)


def wait(what, process, seconds=600):
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.5)


def test_all_parts_are_ready_and_the_door_says_so(release, place):
    assert re.search(r"^mlflow +ready", release, re.MULTILINE)
    assert re.search(r"^controller +ready", place.door("cluster", "status"), re.MULTILINE)


def test_what_helm_tries_from_inside_works(release, place):
    said = subprocess.run(
        ["helm", "test", "sttn", "--namespace", place.namespace, "--logs"],
        capture_output=True,
        text=True,
        check=False,
    )
    print(said.stdout)
    assert said.returncode == 0, said.stdout + said.stderr
    assert re.search(r"Phase: +Succeeded", said.stdout)


def test_videos_become_a_data_set(data_set):
    assert "sttn-shard-tiny-v1: submitted" in data_set
    assert "v1: written, 3 videos, 72 frames" in data_set
    assert data_set.count("digest ") == 1


def test_workers_are_different_pods_and_who_has_no_token_is_refused(place, data_set):
    process = place.start("submit", "train", "smoke", "--", "--name", "undisturbed", *RUN)
    wait(lambda: reached(place, "undisturbed") >= 8, process)
    assert len(place.pods("sttn-train-undisturbed", "worker")) == 2
    job = place.jobs.get("sttn-train-undisturbed")
    service = f"{job['status']['rayClusterName']}-head-svc:8265"
    with pytest.raises(ValueError, match="does not know who you are"):
        place.api.through(service, "/api/jobs/")
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, out + err
    assert "sttn-train-undisturbed is done" in out


def test_the_controller_has_what_was_registered_evaluated_and_a_champion_comes_of_it(
    place, undisturbed
):
    end = time.monotonic() + 900
    while not (done := events(place, "EvaluationDone")):
        assert time.monotonic() < end, events(place)
        time.sleep(2)
    assert "models:/sttn/1: sttn-evaluate-sttn-1" in done[0]
    while place.jobs.all("evaluate"):
        assert time.monotonic() < end, place.jobs.rows()
        time.sleep(2)
    # Little was learnt, so that the rule says no: that is a decision, and no failure of the job.
    assert not events(place, "EvaluationFailed")


def events(place, reason=""):
    found = place.all("api/v1 events")
    return [one["message"] for one in found if not reason or one["reason"] == reason]


def test_a_run_that_loses_a_worker_and_then_its_head_ends_with_the_same_weights(place, undisturbed):
    process = place.start("submit", "train", "smoke", "--", "--name", "struck", *RUN)
    job, pods = "sttn-train-struck", "api/v1 pods"
    wait(lambda: reached(place, "struck") >= 16, process)
    (worker, _) = place.pods(job, "worker")
    place.api.call("DELETE", f"{place.path(pods)}/{worker}", {"gracePeriodSeconds": 0})
    at = reached(place, "struck")
    wait(lambda: reached(place, "struck") >= at + 40, process)
    (head,) = place.pods(job, "head")
    place.api.call("DELETE", f"{place.path(pods)}/{head}", {"gracePeriodSeconds": 0})
    out, err = process.communicate(timeout=1500)
    print(out, err)
    assert process.returncode == 0, out + err
    # KubeRay gives the new head the job once more.
    assert out.count("Running entrypoint for job") == 2
    # Not the files': the order of tensors in one is nobody's promise.
    assert weights(place, "struck") == weights(place, "undisturbed") != {}


def weights(place, name):
    """All that learning changes, of a run's last checkpoint: name and part -> bytes."""
    folder = place.volumes / f"lake/runs/{name}/checkpoints/clips-{CLIPS:09d}"
    return {
        (file.name, key): tensor.tobytes()
        for file in folder.glob("*.safetensors")
        for key, tensor in load_file(file).items()
    }


def test_an_upgrade_keeps_the_registry_and_uninstalling_keeps_the_volumes(place, values, release):
    place.door("cluster", "up", "--values", values)
    place.door("cluster", "down")
    for kind in ("apis/ray.io/v1 rayclusters", "apis/apps/v1 deployments", "api/v1 services"):
        left = [
            one["metadata"]["name"]
            for one in place.all(kind)
            if one["metadata"].get("labels", {}).get("app.kubernetes.io/managed-by") == "Helm"
        ]
        assert left == [], kind
    claims = {one["metadata"]["name"] for one in place.all("api/v1 persistentvolumeclaims")}
    assert claims == {"lake", "mlflow"}
    assert (place.volumes / "mlflow/mlflow.db").exists()
