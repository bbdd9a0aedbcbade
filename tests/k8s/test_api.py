"""Requests to services inside the cluster, over ports that an API server forwards."""

import pytest

from data_pipeline.cli.command import UserError
from k8s.api import Api, AwayError
from tests.k8s.api_server import ApiServer, http_server

CORE = "/api/v1/namespaces/team"


def pod(name, *, ready="True", phase="Running", **meta):
    return {
        "metadata": {"name": name, **meta},
        "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 5001}]}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
    }


@pytest.fixture
def server():
    server = ApiServer()
    server.objects[f"{CORE}/services/mlflow"] = {
        "spec": {"selector": {"app": "mlflow"}, "ports": [{"port": 5000, "targetPort": "http"}]}
    }
    server.objects[f"{CORE}/pods"] = {
        "items": [
            pod("ended", phase="Succeeded"),
            pod("going", deletionTimestamp="now"),
            pod("starts", ready="False"),
            pod("serves"),
        ]
    }
    return server


@pytest.fixture
def api(server, tmp_path, monkeypatch):
    with server.running(tmp_path) as kubeconfig:
        monkeypatch.setattr(
            "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig)
        )
        yield Api()


def test_a_service_is_reached_through_a_port_of_its_ready_pod(server, api):
    long = "x" * 300_000
    answers = {"/health": (200, "OK"), "/api/jobs/j": (200, {"code": 3, "logs": long})}
    with http_server(answers) as (port, requests):
        server.ports["serves", 5001] = port
        assert api.through("mlflow:5000", "/health") == "OK"
        assert api.through("mlflow:5000", "/api/jobs/j", "secret") == {"code": 3, "logs": long}
        assert api.through("mlflow:5000", "/nothing") is None
    assert server.forwarded == [("serves", 5001)] * 3
    # MLflow answers to this name of a host; the token of the API server stays with it.
    assert requests[0] == ("/health", None, "127.0.0.1:5001")
    assert requests[1][1] == "Bearer secret"


@pytest.mark.parametrize(("status", "kind"), [(503, AwayError), (401, UserError)])
def test_a_service_that_refuses_is_said(server, api, status, kind):
    with http_server({"/health": (status, "no")}) as (port, _):
        server.ports["serves", 5001] = port
        with pytest.raises(kind, match="no"):
            api.through("mlflow:5000", "/health")


def test_a_port_where_nobody_listens_is_said_in_the_kubelets_words(api):
    with pytest.raises(AwayError, match=r"mlflow:5000 \(pod serves\) does not answer: connection"):
        api.through("mlflow:5000", "/health")


def test_a_service_without_pods_and_no_service_are_away(server, api):
    server.objects[f"{CORE}/pods"]["items"] = [pod("ended", phase="Succeeded")]
    with pytest.raises(AwayError, match="no pod runs behind the service mlflow"):
        api.through("mlflow:5000", "/health")
    with pytest.raises(AwayError, match="there is no service sttn-head-svc"):
        api.through("sttn-head-svc:8265", "/")


def test_who_may_not_forward_ports_is_told_which_right_is_missing(server, api):
    server.allowed = False
    with pytest.raises(UserError, match="you may not create pods/portforward in team"):
        api.through("mlflow:5000", "/health")
