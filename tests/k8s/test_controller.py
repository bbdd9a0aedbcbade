"""The controller against a registry in SQLite, and an API server of a dictionary."""

import pytest
import yaml

from k8s.api import ConflictError
from k8s.config import ControllerConfig
from k8s.controller import Controller, job_for
from k8s.leader import Leader
from mlops import names, registry
from tests.charts.rendering import objects
from tests.mlops import foreign

RAYJOBS = "/apis/ray.io/v1/namespaces/team/rayjobs"
EVENTS = "/api/v1/namespaces/team/events"


class Remembers:
    """Of an API server: what objects are there, and that two of a name cannot be."""

    namespace = "team"

    def __init__(self):
        (jobs,) = (one for one in objects({}) if one["metadata"]["name"] == "sttn-jobs")
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


def controller(api, uri, most=2):
    return Controller(api, ControllerConfig(release="sttn", tracking_uri=uri, most=most))


def tags(uri, version):
    return registry.resolve(uri, version.uri).tags


def test_each_version_that_waits_gets_one_job_and_no_more_than_so_many_at_a_time(uri, versions):
    api = Remembers()
    controller(api, uri).look()
    first, second, third = (job_for(one).name for one in versions)
    assert api.jobs() == [first, second]
    controller(api, uri).look()  # another replica, or this one after a restart
    assert api.jobs() == [first, second]
    registry.set_tags(uri, versions[0], {names.EVALUATION: names.EVALUATION_DONE})
    api.end(first, jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    controller(api, uri).look()
    assert api.jobs() == [second, third]
    reasons = [reason for reason, _, _ in api.events]
    assert reasons == ["EvaluationStarted"] * 2 + ["EvaluationDone", "EvaluationStarted"]


def test_a_job_that_ends_without_a_word_about_its_version_is_said_in_the_registry(uri, versions):
    api = Remembers()
    controller(api, uri, most=1).look()
    (name,) = api.jobs()
    api.end(name, jobDeploymentStatus="Failed", jobStatus="FAILED", message="exit code 2, ...")
    controller(api, uri, most=1).look()
    about = tags(uri, versions[0])
    assert about[names.EVALUATION] == names.EVALUATION_FAILED
    assert "exit code 2" in about[names.EVALUATION_PROBLEM]
    assert api.events[1][:2] == ("EvaluationFailed", "Warning")
    assert api.jobs() == [job_for(versions[1]).name]
    registry.set_tags(uri, versions[0], {names.EVALUATION: names.EVALUATION_PENDING})
    controller(api, uri).look()
    assert set(api.jobs()) == {job_for(one).name for one in versions[:2]}


def test_of_two_replicas_one_leads_until_it_renews_no_more():
    api = Remembers()
    first, second = (Leader(api, "sttn-controller", name, 15) for name in ("first", "second"))
    assert [first.leads(), second.leads(), first.leads()] == [True, False, True]
    (path,) = (one for one in api.there if "leases" in one)
    api.there[path]["spec"]["renewTime"] = "2026-01-01T00:00:00.000000Z"
    assert [second.leads(), first.leads()] == [True, False]
    assert api.there[path]["spec"]["leaseTransitions"] == 2
