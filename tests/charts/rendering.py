"""The chart rendered by Helm itself, without a cluster."""

from pathlib import Path

import helm_python
import yaml

CHART = Path(__file__).parents[2] / "charts" / "sttn"
SETS = ["", *sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))]
"""Names of the value sets that the chart ships; "" = its defaults."""
NOTES = "NOTES.txt"


def value_set(name):
    return yaml.safe_load((CHART / "ci" / f"{name}.yaml").read_text()) if name else {}


IMAGE = {"repository": "registry.example/sttn"}


def files(values, name="sttn", namespace="team"):
    """File name of each template -> what it becomes; the image, which has no default, is given."""
    values = {**values, "image": {**IMAGE, **values.get("image", {})}}
    with helm_python.Chart.load(str(CHART)) as chart:
        out = chart.render(values=values, name=name, namespace=namespace)
    return {Path(path).name: text for path, text in out.items()}


def objects(values, name="sttn"):
    """All manifests, those in the ConfigMap of jobs among them."""
    found = []
    for file, text in files(values, name).items():
        if file != NOTES:
            found += [one for one in yaml.safe_load_all(text) if one]
    (jobs,) = (one for one in found if one["metadata"]["name"].endswith("-jobs"))
    return found + [yaml.safe_load(text) for text in jobs["data"].values()]


def of_kind(manifests, kind):
    return [one for one in manifests if one["kind"] == kind]


def pod_templates(manifests):
    """(name, metadata and spec) of every pod that the manifests make."""
    for one in manifests:
        spec = one.get("spec", {})
        if one["kind"] == "Deployment":
            yield one["metadata"]["name"], spec["template"]
        if one["kind"] == "CronJob":
            yield one["metadata"]["name"], spec["jobTemplate"]["spec"]["template"]
        if one["kind"] == "Pod":
            yield one["metadata"]["name"], one
        clusters = {
            "RayCluster": spec,
            "RayJob": spec.get("rayClusterSpec"),
            "RayService": spec.get("rayClusterConfig"),
        }
        if cluster := clusters.get(one["kind"]):
            other = "service" if one["kind"] == "RayService" else "cluster"
            kind = one["metadata"]["labels"].get("sttn/kind", other)
            yield f"{kind} head", cluster["headGroupSpec"]["template"]
            for group in cluster["workerGroupSpecs"]:
                yield f"{kind} {group['groupName']}", group["template"]


def pods(manifests):
    """(name, pod spec) of every pod that the manifests make."""
    for name, template in pod_templates(manifests):
        yield name, template["spec"]


def containers(manifests):
    """(name, container) of every container, the autoscaler's settings among them."""
    for name, pod in pods(manifests):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}: {container['name']}", container
    for cluster in of_kind(manifests, "RayCluster"):
        if cluster["spec"].get("enableInTreeAutoscaling"):
            yield "autoscaler", cluster["spec"]["autoscalerOptions"]
