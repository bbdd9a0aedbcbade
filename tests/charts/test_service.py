"""The service as the chart makes it: what KubeRay, Serve and the command are given."""

import helm_python
import pytest
import yaml
from ray.serve import Application

from mlops.config import ServeConfig
from mlops.serving import on_kubernetes
from tests.charts.rendering import files, objects, of_kind

SERVICE = {"enabled": True, "existingSecret": "token", "existingClaim": "films"}


def made(**values):
    service = {**SERVICE, **values.pop("service", {})}
    return objects({"service": service, **values})


def flags_of(manifests):
    (service,) = of_kind(manifests, "RayService")
    (app,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    assert app["route_prefix"] == "/"  # without one Serve's proxy is not healthy to KubeRay
    module, _, name = app["import_path"].partition(":")
    assert (module, name) == (on_kubernetes.__name__, on_kubernetes.application.__name__)
    return app["args"]["flags"]


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"existingSecret": ""}, "service.existingSecret is missing: a Secret with the token"),
        ({"existingClaim": ""}, "service.existingClaim is missing: a PersistentVolumeClaim"),
        ({"model": "starter"}, "model"),
        ({"replicas": 0}, "replicas"),
    ],
)
def test_what_is_missing_is_said(missing, said):
    with pytest.raises(helm_python.HelmError, match=said):
        files({"service": {**SERVICE, **missing}})


def test_there_is_none_by_default():
    manifests = objects({})
    assert of_kind(manifests, "RayService") == []
    assert not [one for one in manifests if "service" in one["metadata"]["name"]]


def test_the_command_takes_the_flags_and_the_gateway_goes_to_the_head(monkeypatch):
    monkeypatch.setenv("STTN_SERVE_TOKEN", "a token of 24 characters")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    seen, make = [], on_kubernetes.serving.application

    def noted(config, uri, **options):
        seen.append((config, uri, options))
        return make(config, uri, **options)

    monkeypatch.setattr(on_kubernetes.serving, "application", noted)
    workers = {"gpus": 4, "cpu": "32"}
    manifests = made(workers=workers, service={"replicas": 2, "flags": ["--keep-hours", "4"]})
    assert isinstance(on_kubernetes.application({"flags": flags_of(manifests)}), Application)
    ((config, uri, options),) = seen
    assert isinstance(config, ServeConfig)
    assert (config.host, config.port, str(config.folder)) == ("0.0.0.0", 8100, "/service")
    assert (config.max_replicas, config.cpus, config.keep_hours) == (8, 8, 4)
    assert (config.version, uri) == ("models:/sttn@champion", "http://mlflow:5000")
    (service,) = of_kind(manifests, "RayService")
    head = service["spec"]["rayClusterConfig"]["headGroupSpec"]
    (needed,) = options["resources"]
    assert yaml.safe_load(head["rayStartParams"]["resources"].strip("'")) == {needed: 1}
    assert head["rayStartParams"]["num-cpus"] == "0"


def test_head_and_workers_share_the_folder_and_the_head_alone_has_the_token():
    manifests = made(workers={"gpus": 0, "cpu": "500m"})
    assert flags_of(manifests)[-2:] == ["--cpus", "1"]
    (service,) = of_kind(manifests, "RayService")
    cluster = service["spec"]["rayClusterConfig"]
    pods = [one["template"] for one in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    assert len(pods) == 2
    for pod in pods:
        (ray,) = pod["spec"]["containers"]
        assert {"name": "service", "mountPath": "/service"} in ray["volumeMounts"]
        claim = {"persistentVolumeClaim": {"claimName": "films"}, "name": "service"}
        assert claim in pod["spec"]["volumes"]
    tokens = [
        [one for one in pod["spec"]["containers"][0]["env"] if one["name"] == "STTN_SERVE_TOKEN"]
        for pod in pods
    ]
    assert tokens[0][0]["valueFrom"]["secretKeyRef"] == {"name": "token", "key": "token"}
    assert tokens[1] == []


def test_the_service_finds_the_head_and_policies_let_its_clients_in():
    manifests = made(service={"clientNamespaces": ["studio"]})
    (found,) = (
        one for one in of_kind(manifests, "Service") if one["metadata"]["name"] == "sttn-service"
    )
    (service,) = of_kind(manifests, "RayService")
    head = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"].items() <= head.items()
    assert found["spec"]["ports"][0]["targetPort"] == 8100
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "NetworkPolicy")}
    clients, operator = policies["sttn-service"]["ingress"]
    names = [peer["namespaceSelector"]["matchLabels"].popitem()[1] for peer in clients["from"]]
    assert names == ["ingress-nginx", "studio"]
    assert [port["port"] for port in operator["ports"]] == [8000]
    (chosen,) = policies["sttn-ray"]["podSelector"]["matchExpressions"]
    assert {"ray-service-head", "ray-service"} <= set(chosen["values"])
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert "sttn-service" in [one["metadata"]["name"] for one in budgets]
