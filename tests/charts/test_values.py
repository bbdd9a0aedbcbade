"""What values do, and which are refused."""

import json
import re

import helm_python
import kubernetes_validate
import pytest
import yaml

from k8s import dashboards
from k8s.rayjob import kept_log
from mlops.tracking import names
from tests.charts.rendering import (
    CHART,
    NOTES,
    SETS,
    containers,
    files,
    objects,
    of_kind,
    pod_templates,
    pods,
    value_set,
)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"workres": {}}, ["workres"]),
        ({"workers": {"gpu": 1}}, ["/workers", "gpu"]),
        ({"workers": {"memory": "64GB"}}, ["/workers/memory", "64GB"]),
        ({"workers": {"memory": 64}}, ["/workers/memory", "want string"]),
        ({"workers": {"cpu": "8 cores"}}, ["/workers/cpu"]),
        ({"evaluation": {"flags": ["--data; rm"]}}, ["/evaluation/flags/0", "pattern"]),
        ({"jobs": {"train": {"deadlineSeconds": "2h"}}}, ["/jobs/train/deadlineSeconds"]),
        ({"jobs": {"tarin": {}}}, ["tarin"]),
        ({"image": {"digest": "0123"}}, ["/image/digest"]),
        ({"image": {"pullPolicy": "always"}}, ["/image/pullPolicy"]),
        ({"store": {"data": "lake/v1"}}, ["/store/data"]),
        ({"store": {"endpoint": "https://key:secret@store.example"}}, ["/store/endpoint"]),
        ({"ray": {"version": "latest"}}, ["/ray/version"]),
        ({"mlflow": {"allowedHosts": ["https://mlflow.example"]}}, ["/mlflow/allowedHosts/0"]),
        ({"mlflow": {"enabled": False}}, ["mlflow.uri is missing", "address of a server"]),
    ],
)
def test_a_typo_or_a_wrong_unit_is_refused_and_named(values, words):
    with pytest.raises(helm_python.HelmError) as found:
        files(values)
    for word in words:
        assert word in str(found.value)


@pytest.mark.parametrize(
    ("old", "new", "warning"),
    [
        (
            {"controller": {"most": 5}}, {"controller": {"maxConcurrentJobs": 5}},
            "controller.most is now controller.maxConcurrentJobs",
        ),
        (
            {"jobs": {"train": {"retries": 7}}}, {"jobs": {"train": {"maxRestarts": 7}}},
            "jobs.train.retries is now jobs.train.maxRestarts",
        ),
    ],
)  # fmt: skip
def test_an_old_value_works_as_the_new_one_and_the_notes_warn(old, new, warning):
    assert objects(old) == objects(new) != objects({})
    assert f"WARNING: {warning}; the old name goes with the next release" in files(old)[NOTES]
    assert "WARNING" not in files(new)[NOTES]


@pytest.mark.parametrize(
    ("values", "risk"),
    [
        ({"ray": {"auth": {"mode": "disabled"}}}, "anybodyWhoReachesRayRunsCode"),
        ({"mlflow": {"auth": {"enabled": False}}}, "anybodyWhoReachesMlflowChangesTheRegistry"),
        ({"networkPolicy": {"enabled": False}}, "everyPodReachesRayAndMlflow"),
    ],
)
def test_a_protection_goes_only_with_the_name_of_the_risk(values, risk):
    with pytest.raises(helm_python.HelmError, match=f"set risks.{risk}: true"):
        files(values)
    made = files({**values, "risks": {risk: True}})
    assert f"RISK TAKEN: {risk}" in made[NOTES]


def test_a_release_name_too_long_for_kuberay_is_refused():
    with pytest.raises(helm_python.HelmError, match="has 31 characters"):
        files({}, name="a" * 31)
    assert of_kind(objects({}, name="a" * 30), "RayCluster")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"repository": ""}, ["image.repository is missing", "registry.example.com/sttn"]),
        ({"repository": "sttn"}, ["docker.io/library/sttn", "image.pullPolicy: Never"]),
    ],
)
def test_an_image_that_belongs_to_nobody_is_refused(image, words):
    with pytest.raises(helm_python.HelmError) as found:
        files({"image": image})
    for word in words:
        assert word in str(found.value)


def test_an_image_that_the_nodes_have_needs_no_registry():
    made = objects({"image": {"repository": "sttn", "pullPolicy": "Never"}})
    assert {pod["containers"][0]["image"] for _, pod in pods(made)} == {"sttn:0.1.0"}


@pytest.mark.parametrize("name", [name for name in SETS if name])
def test_every_set_of_values_names_its_image(name):
    assert value_set(name)["image"]["repository"]


def test_an_image_by_digest_is_used_and_recorded():
    for name, pod in pods(objects(value_set("gpu-team"))):
        image = pod["containers"][0]["image"]
        assert image.startswith("registry.example/sttn@sha256:"), name
        known = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        assert known.get("STTN_IMAGE", image) == image


def test_gpus_bring_their_limit_and_the_toleration_of_their_taint():
    workers = dict(pods(objects(value_set("gpu-team"))))["cluster workers"]
    limits = workers["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "8"
    assert limits["vpc.amazonaws.com/efa"] == "32"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in workers[
        "tolerations"
    ]
    small = dict(pods(objects(value_set("laptop"))))["cluster workers"]
    assert "nvidia.com/gpu" not in small["containers"][0]["resources"]["limits"]
    assert "tolerations" not in small


@pytest.mark.parametrize(("grace", "drain"), [(300, "290"), (12, "2"), (5, "1")])
def test_the_drain_of_ray_follows_the_grace_period(grace, drain):
    pod = dict(pods(objects({"workers": {"terminationGracePeriodSeconds": grace}})))[
        "train workers"
    ]
    known = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert pod["terminationGracePeriodSeconds"] == grace
    assert known["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == drain


def test_shared_memory_is_a_volume_of_memory_within_the_pods():
    workers = dict(pods(objects({})))["train workers"]
    (volume,) = (one for one in workers["volumes"] if one["name"] == "shared-memory")
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}
    mounts = workers["containers"][0]["volumeMounts"]
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in mounts


def test_a_queue_of_kueue_and_a_priority_are_labels_of_jobs_and_of_the_standing_cluster():
    values = {
        "queue": "video",
        "jobs": {"evaluate": {"queuePriority": "high"}},
        "cluster": {"queue": "team", "queuePriority": "low"},
    }
    found = {
        labels.get("sttn/kind", "cluster"): (
            labels.get("kueue.x-k8s.io/queue-name"), labels.get("kueue.x-k8s.io/priority-class"),
        )
        for kind in ("RayJob", "RayCluster")
        for labels in (one["metadata"]["labels"] for one in of_kind(objects(values), kind))
    }  # fmt: skip
    assert found == {
        "shard": ("video", None), "train": ("video", None), "evaluate": ("video", "high"),
        "inpaint": ("video", None), "cluster": ("team", "low"),
    }  # fmt: skip
    (cluster,) = of_kind(objects({"queue": "video"}), "RayCluster")
    assert not [label for label in cluster["metadata"]["labels"] if "kueue" in label]


def test_all_pods_have_the_labels_annotations_and_scheduler_of_the_values():
    schedule = {"name": "nightly", "cron": "0 3 * * *", "kind": "train", "preset": "youtube-vos"}
    labels = {"team": "video", "app.kubernetes.io/component": "mine"}
    values = {"schedules": [schedule], "pods": {"labels": labels}}
    values["pods"] |= {"annotations": {"mesh/inject": "false"}, "schedulerName": "gang"}
    found = [template for _, template in pod_templates(objects(values))]
    assert len(found) == len(list(pods(objects(values)))) > 8
    for metadata, spec in ((one["metadata"], one["spec"]) for one in found):
        assert metadata["labels"]["team"] == "video"
        assert (
            metadata["labels"]["app.kubernetes.io/component"] != "mine"
        )  # the chart selects by it
        assert metadata["annotations"]["mesh/inject"] == "false"
        assert spec["schedulerName"] == "gang"


@pytest.mark.parametrize("part", ["head", "workers", "data", "mlflow", "controller"])
def test_each_part_takes_an_affinity(part):
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
    }}}  # fmt: skip
    manifests = objects({part: {"affinity": affinity}})
    names = [name for name, pod in pods(manifests) if pod.get("affinity") == affinity]
    assert names
    assert all(part in name or part in ("head", "workers", "data") for name in names)
    for one in manifests:
        if one["kind"] == "Deployment":
            kubernetes_validate.validate(one, "1.37", strict=True)


def test_a_cluster_that_scales_itself_is_in_no_queue():
    with pytest.raises(helm_python.HelmError, match="Kueue takes no cluster that scales itself"):
        files({"cluster": {"queue": "team", "autoscaling": {"enabled": True}}})


@pytest.mark.parametrize("strategy", ["Recreate", "None"])
def test_what_an_upgrade_does_with_the_pods_of_the_standing_cluster(strategy):
    (cluster,) = of_kind(objects({"cluster": {"upgrade": strategy}}), "RayCluster")
    assert cluster["spec"]["upgradeStrategy"] == {"type": strategy}
    assert of_kind(objects({}), "RayCluster")[0]["spec"]["upgradeStrategy"]["type"] == "Recreate"
    for job in of_kind(objects({}), "RayJob"):
        assert "upgradeStrategy" not in job["spec"]["rayClusterSpec"]


def test_the_number_of_workers_bounds_a_cluster_that_does_not_scale():
    (cluster,) = of_kind(objects({"workers": {"replicas": 3}}), "RayCluster")
    sizes = [
        (one["minReplicas"], one["replicas"], one["maxReplicas"])
        for one in cluster["spec"]["workerGroupSpecs"]
    ]
    assert sizes == [(3, 3, 3), (0, 0, 0)]
    assert "enableInTreeAutoscaling" not in cluster["spec"]
    (cluster,) = of_kind(objects({"cluster": {"autoscaling": {"enabled": True}}}), "RayCluster")
    assert cluster["spec"]["workerGroupSpecs"][0]["maxReplicas"] == 8
    assert cluster["spec"]["enableInTreeAutoscaling"] is True


def test_without_mlflow_of_its_own_there_is_none_and_pods_know_the_other():
    made = objects(value_set("external-mlflow"))
    (deployment,) = of_kind(made, "Deployment")
    assert deployment["metadata"]["name"] == "sttn-controller"
    assert of_kind(made, "PersistentVolumeClaim") == []
    for _, pod in pods(made):
        known = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        assert known["MLFLOW_TRACKING_URI"] == "https://mlflow.example"


def test_with_postgresql_and_s3_mlflow_needs_no_volume():
    made = objects(value_set("gpu-team"))
    assert of_kind(made, "PersistentVolumeClaim") == []
    (claim,) = of_kind(objects({}), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_two_servers_of_mlflow_never_write_one_database():
    (server,) = of_kind(objects({"controller": {"enabled": False}}), "Deployment")
    assert server["spec"]["strategy"] == {"type": "Recreate"}
    assert server["spec"]["replicas"] == 1
    (migration,) = server["spec"]["template"]["spec"]["initContainers"]
    assert migration["command"][:3] == ["mlflow", "db", "upgrade"]


INGRESS = {
    "enabled": True,
    "className": "nginx",
    "host": "mlflow.example.com",
    "tlsSecret": "mlflow-tls",
    "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
}


def comes_in(made, policy):
    """(namespace, port) of whoever a policy lets in from elsewhere."""
    (found,) = (one for one in of_kind(made, "NetworkPolicy") if one["metadata"]["name"] == policy)
    return {
        (next(iter(peer["namespaceSelector"]["matchLabels"].values())), port["port"])
        for rule in found["spec"]["ingress"]
        for peer in rule["from"]
        if "namespaceSelector" in peer
        for port in rule["ports"]
    }


def test_an_ingress_brings_its_policy_its_host_and_its_certificate():
    made = objects({"mlflow": {"ingress": INGRESS}})
    (ingress,) = of_kind(made, "Ingress")
    kubernetes_validate.validate(ingress, "1.37", strict=True)
    spec = ingress["spec"]
    assert (spec["ingressClassName"], spec["rules"][0]["host"]) == ("nginx", INGRESS["host"])
    assert spec["tls"] == [{"hosts": [INGRESS["host"]], "secretName": "mlflow-tls"}]
    assert ingress["metadata"]["annotations"] == INGRESS["annotations"]
    (service,) = of_kind(made, "Service")
    backend = spec["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend["name"] == service["metadata"]["name"]
    assert backend["port"]["name"] == service["spec"]["ports"][0]["name"]
    assert comes_in(made, "sttn-mlflow") == {("ingress-nginx", 5000)}
    server = dict(containers(made))["sttn-mlflow: mlflow"]["command"]
    (hosts,) = (word for word in server if word.startswith("--allowed-hosts="))
    assert ",mlflow.example.com,mlflow.example.com:*" in hosts
    assert "open https://mlflow.example.com, or" in files({"mlflow": {"ingress": INGRESS}})[NOTES]


def test_an_ingress_of_somebody_elses_comes_in_too():
    values = {
        "mlflow": {"allowedHosts": ["mlflow.example"]},
        "networkPolicy": {"ingressNamespace": "gateway"},
    }
    assert comes_in(objects(values), "sttn-mlflow") == {("gateway", 5000)}
    assert of_kind(objects(values), "Ingress") == []
    assert comes_in(objects({}), "sttn-mlflow") == set()


def test_an_ingress_without_a_host_is_refused():
    with pytest.raises(helm_python.HelmError, match=r"mlflow\.ingress\.host is missing"):
        files({"mlflow": {"ingress": {"enabled": True}}})


def test_other_namespaces_submit_to_ray_where_they_are_named():
    made = objects({"networkPolicy": {"rayClientNamespaces": ["research", "ci"]}})
    assert comes_in(made, "sttn-ray") == {
        ("kuberay-operator", 8265),
        ("research", 8265),
        ("ci", 8265),
    }
    assert comes_in(objects({}), "sttn-ray") == {("kuberay-operator", 8265)}


def test_monitors_are_there_when_asked_for():
    made = objects({"podMonitors": {"enabled": True, "labels": {"release": "prometheus"}}})
    (monitor,) = of_kind(made, "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert of_kind(objects({}), "PodMonitor") == []


def test_every_evaluation_gets_the_flags_that_the_values_give():
    made = objects({"evaluation": {"flags": ["--margin-db", "0.1"]}})
    commands = {
        one["metadata"]["labels"]["sttn/kind"]: one["spec"]["entrypoint"]
        for one in of_kind(made, "RayJob")
    }
    assert commands == {
        "shard": "sttn-data",
        "train": "sttn-train",
        "evaluate": "sttn-evaluate --promote --exit-zero-on-reject --margin-db 0.1",
        "inpaint": "sttn-inpaint-batch",
    }


def test_jobs_keep_their_log_where_there_is_a_storage():
    made = objects({"store": {"storage": "s3://lake/runs"}})
    for job in of_kind(made, "RayJob"):
        assert job["spec"]["entrypoint"].startswith("sttn-keep-log -- sttn-")
        named = {**job, "status": {"jobId": "one-x"}}
        assert kept_log(named) == "s3://lake/runs/logs/one-x.log"
    assert {
        kept_log({**job, "status": {"jobId": "x"}}) for job in of_kind(objects({}), "RayJob")
    } == {""}


# Ray leaves the files open that its dashboards are made from.
rays_files = pytest.mark.filterwarnings("ignore:unclosed file.*_dashboard_base:ResourceWarning")


@rays_files
def test_dashboards_are_those_of_this_ray_and_only_there_when_asked_for():
    made = of_kind(objects({"dashboards": {"enabled": True}}), "ConfigMap")
    found = {
        file.removeprefix("sttn-"): text
        for one in made
        if one["metadata"]["labels"].get("grafana_dashboard") == "1"
        for file, text in one["data"].items()
    }
    assert found == dashboards.made()  # else: python -m k8s.dashboards
    assert not any("dashboard" in one["metadata"]["name"] for one in objects({}))


@rays_files
def test_our_dashboard_asks_for_what_training_tells():
    ours = json.loads(dashboards.made()["sttn.json"])
    asked = " ".join(panel["targets"][0]["expr"] for panel in ours["panels"])
    told = {name for name in vars(names).values() if isinstance(name, str) and name in asked}
    assert {names.GAUGE, names.CLIPS, names.CLIPS_PER_SECOND, names.LOSS_HOLE} <= told


def test_every_value_is_explained_above_it():
    """Above the key, once: the groups of workers have the same."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    key = re.compile(r"\s*([A-Za-z]+):")
    found = [(lines[i - 1].lstrip(), key.match(line)) for i, line in enumerate(lines)]
    explained = {match[1] for above, match in found if match and above.startswith("#")}
    of_kubernetes = {"to", "ports", "cidr", "except"}  # in a rule of a NetworkPolicy
    assert {match[1] for _, match in found if match} - explained - of_kubernetes == set()


def test_the_schema_knows_every_value_and_no_other():
    """What the schema lists are the values, at every depth."""

    def compare(values, schema, known):
        schema = known[schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
        if not isinstance(values, dict) or "properties" not in schema:
            return
        # Both groups of workers share a definition: one has GPUs.
        only = {"global", "gpus", "gpuResource"}
        old = {
            name
            for name, one in schema["properties"].items()
            if one.get("$comment", "").startswith("deprecated")
        }
        assert set(values) - only == set(schema["properties"]) - only - old
        for name in values:
            compare(values[name], schema["properties"][name], known)

    with helm_python.Chart.load(str(CHART)) as chart:
        schema = chart.schema
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    compare(values, schema, schema["$defs"])


def test_the_notes_say_what_to_type_next():
    notes = files({})[NOTES]
    assert "ray job submit --address http://127.0.0.1:8265" in notes
    assert "get secret sttn -o jsonpath='{.data.auth_token}'" in notes
    assert "port-forward svc/sttn-mlflow 5000" in notes
    assert "keeps the volume of MLflow" in notes


def test_the_notes_name_nothing_that_is_not_there():
    s3 = {"mlflow": {"artifacts": "s3://lake/mlflow", "postgresql": {"existingSecret": "db"}}}
    assert of_kind(objects(s3), "PersistentVolumeClaim") == []
    assert "the volume of MLflow" not in files(s3)[NOTES]
    open_to_all = {
        "ray": {"auth": {"mode": "disabled"}},
        "risks": {"anybodyWhoReachesRayRunsCode": True},
    }
    assert "token" not in files(open_to_all)[NOTES]
    assert "Ray (NO AUTHENTICATION)" in files(open_to_all)[NOTES]
