"""Workloads as Kueue 0.17 writes them -> sentences; and who reads them."""

import pytest

from data_pipeline.cli.command import UserError
from k8s import rayjob_client
from k8s.job_state import End
from k8s.kueue import describe_workloads, why_queued
from k8s.rayjob import describe

JOB = {
    "metadata": {
        "name": "one", "uid": "u", "resourceVersion": "1",
        "labels": {"kueue.x-k8s.io/queue-name": "video"},
    },
    "spec": {"entrypoint": "sttn-train smoke", "suspend": True},
    "status": {"jobDeploymentStatus": "Suspended"},
}  # fmt: skip


def workload(**conditions):
    """A Workload with these conditions: type -> (status, message)."""
    listed = [
        {"type": kind, "status": status, "message": message}
        for kind, (status, message) in conditions.items()
    ]
    return {"metadata": {"name": "rayjob-one-1"}, "status": {"conditions": listed}}


NOT_COVERED = workload(
    QuotaReserved=(
        "False",
        "couldn't assign flavors to pod set head: resource ephemeral-storage unavailable in "
        "ClusterQueue",
    )
)
ADMITTED = workload(QuotaReserved=("True", "Quota reserved"), Admitted=("True", "Admitted"))


@pytest.mark.parametrize(
    ("workloads", "sentence"),
    [
        ([ADMITTED], None),
        ([], "queue video: Kueue has made no Workload of it: does Kueue run, and take Ray's jobs"),
        ([workload()], "queue video: Kueue has not looked at it yet"),
        (
            [workload(QuotaReserved=("False", "LocalQueue video doesn't exist"))],
            "queue video: LocalQueue video doesn't exist",
        ),
        (
            [NOT_COVERED],
            "until the ClusterQueue covers ephemeral-storage (spec.resourceGroups; k8s/README.md",
        ),
        (
            [
                workload(
                    Evicted=("True", "Preempted to accommodate a workload"),
                    QuotaReserved=("False", "insufficient unused quota for cpu, 1 more needed"),
                )
            ],
            "queue video: Preempted to accommodate a workload; insufficient unused quota for cpu",
        ),
    ],
)
def test_the_condition_of_a_workload_in_words(workloads, sentence):
    said = describe_workloads("video", workloads)
    assert sentence is None if not said else sentence in said[0]
    assert len(said) == (sentence is not None)


class Api:
    """Answers for Workloads in one version of Kueue's API."""

    namespace = "team"

    def __init__(self, version="v1beta2", workloads=(NOT_COVERED,), refused=None):
        self.version, self.workloads, self.refused = version, list(workloads), refused
        self.selectors = []

    def call(self, _method, path, *_, **query):
        if "/rayjobs/" in path:
            return JOB
        if self.refused:
            raise self.refused
        self.selectors.append(query["labelSelector"])
        return {"items": self.workloads} if f"/{self.version}/" in path else None


@pytest.mark.parametrize("version", ["v1beta2", "v1beta1"])
def test_the_workload_of_a_job_is_found_by_its_uid_in_either_version(version):
    api = Api(version)
    assert "ephemeral-storage" in why_queued(api, JOB)[0]
    assert set(api.selectors) == {"kueue.x-k8s.io/job-uid=u"}


@pytest.mark.parametrize(
    ("api", "words"),
    [
        (Api("none"), "this cluster has no Kueue"),
        (Api(refused=UserError("not allowed: workloads")), "was not read: not allowed: workloads"),
    ],
)
def test_a_cluster_without_kueue_and_one_that_does_not_tell(api, words):
    assert words in why_queued(api, JOB)[0]


def test_an_object_in_no_queue_is_not_looked_for():
    api = Api(refused=AssertionError("nobody asks"))
    assert why_queued(api, {**JOB, "metadata": {"name": "one", "uid": "u"}}) == []


def test_whoever_follows_a_suspended_job_reads_why(monkeypatch):
    api, lines = Api(), []
    jobs = rayjob_client.RayJobs(api, "sttn")
    monkeypatch.setattr(jobs, "_watched", lambda *_: End("STOPPED", "", 1))  # after one look
    jobs.follow("one", str, lines.append)
    (line,) = lines
    assert line.startswith(
        "one: is suspended, until queue video starts it; queue video: couldn't assign flavors"
    )
    assert describe({**JOB, "metadata": {}}) == "is suspended, until somebody starts it"
