"""Many submissions of the same jobs, and rights, against a real API server."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_pipeline.cli.command import Refused
from k8s.api import Api
from k8s.job_request import job_request
from k8s.job_state import RUNNING, SUBMITTED
from k8s.leader_election import Leader
from k8s.pod_problems import find_problems
from k8s.rayjob_client import RayJobs
from tests.cluster.pods import pod_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def train(name, *flags):
    return job_request("train", "smoke", ["--name", name, *flags])


def test_fifty_submissions_of_ten_jobs_are_ten_jobs(place, release):
    def submit(number):
        jobs = RayJobs(Api(namespace=place.namespace), "sttn")
        return jobs.submit(train(f"many-{number % 10}"), suspended=True)

    with ThreadPoolExecutor(50) as pool:
        said = list(pool.map(submit, range(50)))
    assert sorted(said) == [RUNNING] * 40 + [SUBMITTED] * 10
    made = [row for row in place.jobs.rows() if row.name.startswith("sttn-train-many-")]
    assert len(made) == 10
    listed = place.command("submit", "--list")
    assert listed.count("sttn-train-many-") == 10
    for row in made:
        assert place.jobs.stop(row.name)


def test_another_job_of_the_same_name_is_refused_with_both_commands(place, release):
    assert place.jobs.submit(train("one"), suspended=True) == SUBMITTED
    with pytest.raises(Refused, match=r"'sttn-train smoke --name one', and this is .*--clips 8"):
        place.jobs.submit(train("one", "--clips", "8"), suspended=True)
    out = place.command("submit", "train", "smoke", "--cancel", "--", "--name", "one")
    assert "sttn-train-one was stopped" in out


def test_a_mistake_that_only_the_job_can_find_is_not_tried_again(place, release):
    out = place.command(
        "submit", "shard", "--", "--source", "videos", "--input", "s3://lake/nothing",
        "--output", "s3://lake/curated/none/v1", code=2,
    )  # fmt: skip
    assert "s3://lake/nothing is not there" in out
    assert "sttn-shard-none-v1 ended with a usage error" in out
    assert "attempt" not in out


def test_a_job_on_time_is_one_job_also_when_the_next_time_comes(place, release, values):
    name = "sttn-shard-on-time-v1"
    place.command("cluster", "up", "--values", values, Path(__file__).parent / "on-time.yaml")
    try:
        begun = set()
        end = time.monotonic() + 240
        while len(begun) < 2:  # CronJobs of two minutes have submitted it
            assert time.monotonic() < end, place.all("api/v1 events")
            time.sleep(2)
            begun |= {
                one["metadata"]["name"]
                for one in place.all("apis/batch/v1 jobs")
                if one.get("status", {}).get("succeeded")
            }
        assert [row.name for row in place.jobs.rows()].count(name) == 1
    finally:
        place.command("cluster", "up", "--values", values)
        place.jobs.delete(name)


def test_of_two_replicas_one_leads_and_the_other_when_the_first_is_gone(place):
    first, second = (Leader(place.api, "test", name, 3) for name in ("first", "second"))
    assert [first.leads(), second.leads(), first.leads()] == [True, False, True]
    later = Leader(place.api, "test", "later", 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Leader, "_is_free", lambda *_: True)
        assert later.leads()
    assert first.leads() is False


@pytest.mark.parametrize(
    ("account", "verb", "group", "resource", "allowed"),
    [
        ("sttn-ray", "list", "", "secrets", False),
        ("sttn-ray", "create", "", "pods", False),
        ("sttn-ray", "create", "ray.io", "rayjobs", False),
        ("sttn-mlflow", "get", "", "secrets", False),
        ("sttn-controller", "create", "ray.io", "rayjobs", True),
        ("sttn-controller", "get", "", "secrets", False),
        ("sttn-controller", "create", "", "pods", False),
        ("sttn-controller", "patch", "ray.io", "rayjobs", False),
    ],
)
def test_an_account_may_do_what_it_needs_and_no_more(
    place, release, account, verb, group, resource, allowed
):
    asked_of = {
        "spec": {
            "user": f"system:serviceaccount:{place.namespace}:{account}",
            "resourceAttributes": {
                "namespace": place.namespace,
                "verb": verb,
                "group": group,
                "resource": resource,
            },
        }
    }
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert place.api.call("POST", path, asked_of)["status"]["allowed"] is allowed


def test_a_gpu_that_no_node_has_is_said_in_words(place, release):
    pod = pod_of("greedy", "nowhere.invalid/image:1", ["true"])
    pod["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    place.make("api/v1 pods", pod)
    from_health = wait_for_trouble(place, "sttn-test=greedy")
    assert from_health[0].startswith("pod greedy: no node has 1 nvidia.com/gpu free")
    place.api.call("DELETE", f"{place.path('api/v1 pods')}/greedy")


def wait_for_trouble(place, selector):
    end = time.monotonic() + 60
    while not (found := find_problems(place.api, selector)):
        assert time.monotonic() < end
        time.sleep(0.5)
    return found
