"""What every value set of the chart keeps to, one sentence each."""

import json
import re

import kubernetes_validate
import pytest

from tests.charts import kuberay_schemas
from tests.charts.rendering import SETS, containers, objects, of_kind, pods, value_set

KUBERNETES = "1.37"
OURS = {"RayCluster", "RayJob", "RayService"}
UNKNOWN = {"PodMonitor"}  # of the Prometheus operator, whose schema is not here


@pytest.fixture(scope="module", params=SETS, ids=lambda name: name or "defaults")
def manifests(request):
    return objects(value_set(request.param))


def test_every_manifest_fits_the_schema_of_its_kind(manifests):
    known = kuberay_schemas.schemas()
    for one in manifests:
        if one["kind"] in OURS:
            assert kuberay_schemas.problems(one, known) == []
        elif one["kind"] not in UNKNOWN:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_every_pod_is_that_of_a_user_who_is_not_root(manifests):
    for name, pod in pods(manifests):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name


def test_every_container_drops_all_capabilities_and_gains_no_rights(manifests):
    for name, container in containers(manifests):
        security = container["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["runAsNonRoot"] is True, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not security.get("privileged"), name


def test_every_container_has_a_root_file_system_that_it_cannot_write(manifests):
    for name, container in containers(manifests):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name


def test_every_container_asks_for_what_it_may_use(manifests):
    for name, container in containers(manifests):
        resources = container["resources"]
        assert resources["requests"] == resources["limits"], name
        assert {"cpu", "memory"} <= set(resources["limits"]), name


def test_only_volumes_of_the_standard_are_used(manifests):
    allowed = {"emptyDir", "persistentVolumeClaim", "configMap", "projected", "secret"}
    for name, pod in pods(manifests):
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= allowed, name


def test_no_container_has_a_token_of_the_api_server_but_who_asks_it(manifests):
    for account in of_kind(manifests, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for name, pod in pods(manifests):
        assert pod["automountServiceAccountToken"] is False, name
        tokens = {volume["name"] for volume in pod["volumes"] if "projected" in volume}
        for container in pod["containers"]:
            mounted = {one["name"] for one in container["volumeMounts"]}
            asks = container["name"] in ("controller", "submit")
            assert bool(tokens & mounted) == asks, name


def test_the_controller_may_do_what_it_does_and_no_more(manifests):
    (role,) = (
        one for one in of_kind(manifests, "Role") if one["metadata"]["name"] == "sttn-controller"
    )
    rights = {
        (resource, verb, *rule.get("resourceNames", []))
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert rights == {
        *(("rayjobs", verb) for verb in ("get", "list", "create", "delete")),
        ("configmaps", "get", "sttn-jobs"),
        ("events", "create"),
        ("leases", "create"),
        ("leases", "get", "sttn-controller"),
        ("leases", "update", "sttn-controller"),
    }
    for binding in of_kind(manifests, "RoleBinding"):
        assert [one["name"] for one in binding["subjects"]] == [binding["roleRef"]["name"]]
    assert of_kind(manifests, "ClusterRole") == of_kind(manifests, "ClusterRoleBinding") == []


def test_ray_wants_its_token_and_says_its_version_everywhere(manifests):
    clusters = [one["spec"] for one in of_kind(manifests, "RayCluster")]
    clusters += [one["spec"]["rayClusterSpec"] for one in of_kind(manifests, "RayJob")]
    clusters += [one["spec"]["rayClusterConfig"] for one in of_kind(manifests, "RayService")]
    assert clusters
    for spec in clusters:
        assert spec["authOptions"]["mode"] == "token"
        assert spec["rayVersion"] == "2.60.0"


def test_ray_drains_an_evicted_node_for_nearly_all_of_its_grace_period(manifests):
    """Its default, 30 s, would cut a longer grace period short."""
    drained = 0
    for name, pod in pods(manifests):
        known = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        if pod["containers"][0]["name"] == "ray":
            drain = int(known["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
            assert 0 < pod["terminationGracePeriodSeconds"] - drain <= 10, name
            drained += 1
    assert drained


def test_the_head_runs_no_work(manifests):
    for one in of_kind(manifests, "RayJob"):
        head = one["spec"]["rayClusterSpec"]["headGroupSpec"]
        assert head["rayStartParams"] == {"num-cpus": "0"}


def test_the_container_of_ray_is_the_first_and_alone(manifests):
    for name, pod in pods(manifests):
        if name.endswith((" head", " workers", " data", " service")):
            assert [one["name"] for one in pod["containers"]] == ["ray"], name


def test_nothing_is_reachable_from_outside_the_cluster(manifests):
    kinds = {one["kind"] for one in manifests}
    assert not kinds & {"Ingress", "HTTPRoute", "Gateway"}
    for service in of_kind(manifests, "Service"):
        assert service["spec"]["type"] == "ClusterIP"
    for one in of_kind(manifests, "RayCluster"):
        assert one["spec"]["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_secrets_are_only_named(manifests):
    """No Secret is made, and what sounds like one comes by reference."""
    assert of_kind(manifests, "Secret") == []
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY")
    for name, container in containers(manifests):
        for variable in container.get("env", []):
            if secret.search(variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"], name
        assert not secret.search(json.dumps(container.get("command", []))), name


def test_jobs_bring_no_runtime_environment(manifests):
    """What is in it, anybody who sees the job sees."""
    for job in of_kind(manifests, "RayJob"):
        assert "runtimeEnvYAML" not in job["spec"]


def test_the_default_is_that_nothing_goes_in_or_out(manifests):
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind(manifests, "NetworkPolicy")}
    default = policies["sttn-default"]
    assert default["podSelector"] == {"matchLabels": {"app.kubernetes.io/instance": "sttn"}}
    assert default["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in default
    (dns,) = default["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}


def test_every_pod_is_under_the_default_policy(manifests):
    for one in manifests:
        spec = one.get("spec", {})
        cluster = spec.get("rayClusterSpec", spec.get("rayClusterConfig", spec))
        templates = [spec["template"]] if one["kind"] == "Deployment" else []
        if one["kind"] in OURS:
            groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
            templates = [group["template"] for group in groups]
        for template in templates:
            assert template["metadata"]["labels"]["app.kubernetes.io/instance"] == "sttn"


def test_nobody_but_the_release_and_the_operator_comes_in(manifests):
    for policy in of_kind(manifests, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            for peer in rule["from"]:
                space = peer.get("namespaceSelector")
                if space is None:
                    labels = peer["podSelector"]["matchLabels"]
                    assert labels["app.kubernetes.io/instance"] == "sttn"
                else:
                    (known,) = space["matchLabels"].values()
                    assert known in ("kuberay-operator", "monitoring", "ingress-nginx")
                    assert rule["ports"]
                    if known == "ingress-nginx":  # for what gpu-team shows to people
                        shown = {"sttn-mlflow": 5000, "sttn-service": 8100}
                        port = shown[policy["metadata"]["name"]]
                        assert [one["port"] for one in rule["ports"]] == [port]


def test_metadata_services_of_clouds_are_out_of_reach(manifests):
    for policy in of_kind(manifests, "NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            for peer in rule["to"]:
                block = peer.get("ipBlock", {})
                if block.get("cidr") == "0.0.0.0/0":
                    assert "169.254.0.0/16" in block["except"]


def test_a_job_ends_and_is_cleaned_up_and_its_retries_are_new_clusters(manifests):
    jobs = of_kind(manifests, "RayJob")
    assert len(jobs) == 4
    for job in jobs:
        spec = job["spec"]
        assert spec["submissionMode"] == "HTTPMode"
        assert spec["shutdownAfterJobFinishes"] is True
        assert spec["ttlSecondsAfterFinished"] >= 0
        assert spec["activeDeadlineSeconds"] > spec["preRunningDeadlineSeconds"]
        assert spec["backoffLimit"] >= 2
        assert "clusterSelector" not in spec
        assert "jobId" not in spec


def test_workers_know_data_storage_and_tracking(manifests):
    for name, container in containers(manifests):
        if name.endswith(": ray"):
            known = {one["name"] for one in container["env"]}
            assert {"STTN_DATA", "STTN_STORAGE", "MLFLOW_TRACKING_URI"} <= known, name
