"""Jobs in a queue of Kueue: why one waits, and one of a higher priority before one at work."""

import pytest
import yaml

from tests.cluster.pods import until
from tests.tiny import write_videos

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

API = "/apis/kueue.x-k8s.io/v1beta2"
QUEUE, FLAVOR, URGENT = "sttn-test", "sttn-test", "sttn-test-urgent"
ROOM = {"cpu": "1400m", "memory": "12Gi"}  # for the pods of one job
SHARD = [
    "--source", "videos", "--input", "s3://lake/raw-queue", "--held-out", "video-0", "--width",
    "96", "--height", "96", "--static", "1", "--moving", "0", "--workers", "1",
]  # fmt: skip


def cluster_queue(quotas):
    resources = [{"name": name, "nominalQuota": quota} for name, quota in quotas.items()]
    group = {
        "coveredResources": list(quotas),
        "flavors": [{"name": FLAVOR, "resources": resources}],
    }
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "ClusterQueue",
        "metadata": {"name": QUEUE},
        "spec": {
            "namespaceSelector": {},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [group],
        },
    }


@pytest.fixture(scope="module")
def queue(place, release, values, tmp_path_factory):
    """The release with its jobs in a queue, which lacks ephemeral storage at first."""
    api = place.api
    if api.call("GET", API) is None:
        pytest.skip("this cluster has no Kueue")
    version = {"apiVersion": "kueue.x-k8s.io/v1beta2"}
    flavor = {**version, "kind": "ResourceFlavor", "metadata": {"name": FLAVOR}}
    priority = {
        **version, "kind": "WorkloadPriorityClass", "metadata": {"name": URGENT}, "value": 100,
    }  # fmt: skip
    local = {
        **version, "kind": "LocalQueue", "metadata": {"name": QUEUE},
        "spec": {"clusterQueue": QUEUE},
    }  # fmt: skip
    api.call("POST", f"{API}/resourceflavors", flavor)
    api.call("POST", f"{API}/workloadpriorityclasses", priority)
    api.call("POST", f"{API}/clusterqueues", cluster_queue(ROOM))
    api.call("POST", f"{API}/namespaces/{place.namespace}/localqueues", local)
    queued = tmp_path_factory.mktemp("queue") / "queue.yaml"
    queued.write_text(
        yaml.safe_dump({"queue": QUEUE, "jobs": {"shard": {"queuePriority": URGENT}}})
    )
    place.command("cluster", "up", "--values", values, queued)
    with place.store() as store:
        for file in write_videos(tmp_path_factory.mktemp("videos"), [24, 24, 24]):
            store.put_file(str(file), f"lake/raw-queue/{file.name}")
    yield QUEUE
    place.command("cluster", "up", "--values", values)
    for path in (
        f"{API}/namespaces/{place.namespace}/localqueues/{QUEUE}",
        f"{API}/clusterqueues/{QUEUE}",
        f"{API}/workloadpriorityclasses/{URGENT}",
        f"{API}/resourceflavors/{FLAVOR}",
    ):
        api.call("DELETE", path)


def state(place, name):
    return (place.jobs.find(name) or {}).get("status", {}).get("jobDeploymentStatus")


def test_a_queue_that_lacks_a_resource_is_named_and_a_job_starts_when_it_has_it(place, queue):
    output = "s3://lake/curated/queue/v1"
    job = place.start("submit", "shard", "--", *SHARD, "--output", output)
    until(lambda: state(place, "sttn-shard-queue-v1") == "Suspended", 120)
    line = until(lambda: waiting(job), 120)
    assert f"queue {queue}: " in line
    assert "It waits without end until the ClusterQueue covers ephemeral-storage" in line
    there = place.api.call("GET", f"{API}/clusterqueues/{queue}")
    there["spec"] = cluster_queue({**ROOM, "ephemeral-storage": "200Gi"})["spec"]
    place.api.call("PUT", f"{API}/clusterqueues/{queue}", there)
    out, err = job.communicate(timeout=900)
    assert job.returncode == 0, out + err
    assert "v1: written, 3 videos" in out


def waiting(job):
    """The next line of a command that follows a job, when it says what the queue lacks."""
    line = job.stderr.readline()
    return line if "ClusterQueue" in line else ""


def test_a_job_of_a_higher_priority_goes_first_and_the_other_resumes(place, queue):
    train = place.start(
        "submit", "train", "smoke", "--", "--name", "queued", "--data",
        "s3://lake/curated/queue/v1", "--clips", 160, "--workers", 1,
        "--checkpoint-every-clips", 8, "--log-every-clips", 8,
    )  # fmt: skip

    def checkpoints():
        with place.store() as store:
            return store.glob("lake/runs/queued/checkpoints/*/manifest.json")

    until(checkpoints, 600)
    shard = place.start("submit", "shard", "--", *SHARD, "--output", "s3://lake/curated/queue/v2")
    until(lambda: state(place, "sttn-train-queued") in ("Suspending", "Suspended"), 120)
    out, err = shard.communicate(timeout=900)
    assert shard.returncode == 0, out + err
    out, err = train.communicate(timeout=900)
    print(out, err)
    assert train.returncode == 0, out + err
    assert f"is suspended, until queue {queue} starts it; queue {queue}: Preempted" in out + err
    assert "queued: 160 clips" in out + err
