"""The controller against a registry in SQLite, and an API server of a dictionary."""

import pytest
import yaml

from k8s.api import ConflictError
from k8s.config import ControllerConfig
from k8s.evaluation_jobs import EvaluationJobs, job_for
from k8s.leader_election import Leader
from mlops.tracking import names, registry
from tests.charts.rendering import objects
from tests.mlops import foreign

RAYJOBS = "/apis/ray.io/v1/namespaces/team/rayjobs"
EVENTS = "/api/v1/namespaces/team/events"


class Remembers:
    """Of an API server: what objects are there, and that two of a name cannot be."""

    namespace = "team"

    def __init__(self):
        made = objects({"store": {"storage": "s3://lake/runs"}})
        (jobs,) = (one for one in made if one["metadata"]["name"] == "sttn-jobs")
        self.there = {"/api/v1/namespaces/team/configmaps/sttn-jobs": jobs}
        self.events = []

    def call(self, method, path, body=None, **query):
        if path == EVENTS:
            return self.events.append((body["reason"], body["type"], body["message"]))
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.there:
                raise ConflictError(path)
            body["metadata"]["uid"] = path
        if method in ("POST", "PUT"):
            self.there[path] = yaml.safe_load(yaml.safe_dump(body))
            return body
        if path == RAYJOBS:
            assert query["labelSelector"].endswith(",sttn/kind=evaluate")
            items = [one for name, one in self.there.items() if name.startswith(RAYJOBS)]
            return {"items": items}
        if method == "DELETE":
            return self.there.pop(path)
        return self.there.get(path)

    def jobs(self):
        return [name.rsplit("/", 1)[1] for name in self.there if name.startswith(RAYJOBS)]

    def end(self, name, **status):
        self.there[f"{RAYJOBS}/{name}"]["status"] = status


@pytest.fixture
def uri(tmp_path, new_store):
    return new_store(tmp_path)


@pytest.fixture
def versions(uri, tmp_path):
    return [foreign.register(uri, tmp_path / f"model-{n}", clips=n + 1) for n in range(3)]


def evaluation_jobs(api, uri, most=2):
    return EvaluationJobs(
        api, ControllerConfig(release="sttn", tracking_uri=uri, max_concurrent_jobs=most)
    )


def tags(uri, version):
    return registry.resolve(uri, version.uri).tags


def test_each_version_that_waits_gets_one_job_and_no_more_than_so_many_at_a_time(uri, versions):
    api = Remembers()
    evaluation_jobs(api, uri).poll()
    first, second, third = (job_for(one).name for one in versions)
    assert api.jobs() == [first, second]
    evaluation_jobs(api, uri).poll()  # another replica, or this one after a restart
    assert api.jobs() == [first, second]
    registry.set_tags(uri, versions[0], {names.EVALUATION: names.EVALUATION_DONE})
    api.end(first, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    evaluation_jobs(api, uri).poll()
    assert api.jobs() == [second, third]
    reasons = [reason for reason, _, _ in api.events]
    assert reasons == ["EvaluationStarted"] * 2 + ["EvaluationDone", "EvaluationStarted"]


def test_a_job_that_ends_without_a_word_about_its_version_is_said_in_the_registry(uri, versions):
    api = Remembers()
    evaluation_jobs(api, uri, most=1).poll()
    (name,) = api.jobs()
    failed = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "jobId": "j-x7k2p"}
    api.end(name, **failed, message="exit code 2, ...")
    evaluation_jobs(api, uri, most=1).poll()
    about = tags(uri, versions[0])
    assert about[names.EVALUATION] == names.EVALUATION_FAILED
    assert "exit code 2" in about[names.EVALUATION_PROBLEM]
    assert api.events[1][:2] == ("EvaluationFailed", "Warning")
    assert api.events[1][2].endswith("; its log is kept at s3://lake/runs/logs/j-x7k2p.log")
    assert api.jobs() == [job_for(versions[1]).name]
    registry.set_tags(uri, versions[0], {names.EVALUATION: names.EVALUATION_PENDING})
    evaluation_jobs(api, uri).poll()
    assert set(api.jobs()) == {job_for(one).name for one in versions[:2]}


LEASE = "/apis/coordination.k8s.io/v1/namespaces/team/leases/sttn-controller"


class Clock:
    """Seconds of a replica's own clock."""

    now = 0.0

    def __call__(self):
        return self.now


def replicas(api, clock):
    return (Leader(api, "sttn-controller", name, 15, clock) for name in ("first", "second"))


@pytest.mark.parametrize("year", [2001, 2099])
def test_of_two_replicas_one_leads_whatever_the_time_of_day_is_there(year):
    api, clock = Remembers(), Clock()
    first, second = replicas(api, clock)
    assert [first.leads(), second.leads(), first.leads()] == [True, False, True]
    for minute in range(5):  # the first goes on; its time of day is far away from ours
        clock.now += 10.0
        assert first.leads()
        api.there[LEASE]["spec"]["renewTime"] = f"{year}-01-01T00:0{minute}:00.000000Z"
        assert not second.leads()
    clock.now += 14.0
    assert not second.leads()
    clock.now += 1.0  # 15 s without a change that the second could see
    assert [second.leads(), first.leads()] == [True, False]
    assert api.there[LEASE]["spec"]["leaseTransitions"] == 2


@pytest.mark.parametrize(
    "spec",
    [
        {"holderIdentity": "gone", "leaseDurationSeconds": 15},
        {"holderIdentity": "gone"},
        {"holderIdentity": "gone", "renewTime": None, "leaseDurationSeconds": None},
        {"holderIdentity": "gone", "renewTime": "yesterday", "leaseTransitions": None},
    ],
)
def test_a_lease_that_lacks_fields_runs_out_like_any_other(spec):
    api, clock = Remembers(), Clock()
    api.there[LEASE] = {"metadata": {"name": "sttn-controller"}, "spec": spec}
    first, second = replicas(api, clock)
    assert [first.leads(), second.leads()] == [False, False]
    clock.now = 15.0
    assert [first.leads(), second.leads()] == [True, False]
    assert set(api.there[LEASE]["spec"]) > {"acquireTime", "renewTime"}


@pytest.mark.parametrize("lease", [{}, {"spec": None}, {"spec": {}}])
def test_a_lease_of_nobody_is_taken_at_once(lease):
    api = Remembers()
    api.there[LEASE] = {"metadata": {"name": "sttn-controller"}, **lease}
    first, second = replicas(api, Clock())
    assert [first.leads(), second.leads()] == [True, False]


def test_what_is_ours_and_lacks_its_time_is_renewed():
    api = Remembers()
    api.there[LEASE] = {"metadata": {"name": "x"}, "spec": {"holderIdentity": "first"}}
    assert next(replicas(api, Clock())).leads()
    assert api.there[LEASE]["spec"]["acquireTime"]
