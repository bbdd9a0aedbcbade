"""RayJobs that are watched, on an API server that says what a real one has said."""

import itertools

import pytest

from k8s import rayjob_client
from k8s.api import AwayError
from k8s.job_state import End

RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "jobId": "j", "failed": 0}
EXIT_2 = "Job entrypoint command failed with exit code 2, last available logs: s3://x is not there"
AGAIN = {**RUNNING, "jobDeploymentStatus": "Retrying", "jobStatus": "FAILED", "message": EXIT_2}
SECOND = {"jobDeploymentStatus": "Initializing", "failed": 1}


class Cluster:
    """Each look at the job sees the next of some states, not those that pass; its head is gone."""

    namespace = "video"

    def __init__(self, *states, passing=()):
        self.states = itertools.chain(states, itertools.repeat(states[-1]))
        self.passing = list(passing)
        self.deleted = False

    def call(self, method, path, *_, **__):
        if method == "DELETE":
            self.deleted = True
        return job(next(self.states)) if "/rayjobs/" in path else None

    def changes(self, *_, **__):
        passing, self.passing = self.passing, []
        return [job(one) for one in passing]

    def through(self, *_):
        raise AwayError("no endpoints available for the head")


def job(status):
    head = {"containers": [{"env": [{"name": "STTN_STORAGE", "value": "s3://lake/runs"}]}]}
    return {
        "metadata": {"name": "one", "uid": "u", "resourceVersion": "1"},
        "spec": {
            "entrypoint": "sttn-keep-log -- sttn-train smoke",
            "rayClusterSpec": {"headGroupSpec": {"template": {"spec": head}}},
        },
        "status": status,
    }


@pytest.fixture
def follow(monkeypatch):
    monkeypatch.setattr(rayjob_client, "_POLL_S", 0)
    return lambda cluster, tell=str: rayjob_client.RayJobs(cluster, "sttn").follow("one", str, tell)


def test_a_log_that_could_not_be_read_is_said_with_where_it_is_kept(follow):
    done = {**RUNNING, "jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    told = []
    assert follow(Cluster(RUNNING, done), told.append).code == 0
    assert told[-2:] == [
        "one: its log cannot be read: no endpoints available for the head",
        "one: its log is kept at s3://lake/runs/logs/j.log",
    ]


def test_an_exit_code_that_could_not_be_read_is_said(follow):
    failed = {**RUNNING, "jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "lost"}
    end = follow(Cluster(RUNNING, failed))
    assert end == End("FAILED", "one failed with an exit code that could not be read: lost", 1)


def test_a_mistake_is_not_tried_again_though_the_head_is_gone_before_it_told_the_exit_code(follow):
    cluster = Cluster(RUNNING, SECOND, passing=[AGAIN, SECOND])
    end = follow(cluster)
    assert end == End("FAILED", f"one ended with a usage error: {EXIT_2}", 2)
    assert cluster.deleted


def test_what_failed_otherwise_is_tried_again(follow):
    again = {**AGAIN, "message": EXIT_2.replace("2", "1")}
    done = {**RUNNING, "jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "failed": 1}
    cluster = Cluster(RUNNING, SECOND, RUNNING, done, passing=[again, again, SECOND])
    told = []
    assert follow(cluster, told.append) == End("SUCCEEDED", "one is done", 0)
    assert not cluster.deleted
    (line,) = (line for line in told if line.startswith("one: attempt 1 failed: Job entrypoint"))
    assert "with exit code 1" in line
