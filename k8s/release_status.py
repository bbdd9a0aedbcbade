"""The components of a release: which exist, whether each is ready, and if not, why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml

from data_pipeline.cli.command import UserError
from k8s.api import Api, AwayError, Object
from k8s.kueue import why_queued
from k8s.pod_problems import find_problems, short
from k8s.rayjob_log import token_of

NO_OPERATOR = "no operator has seen it: does KubeRay's operator run, and watch this namespace?"
UNSEEN_S = 20.0  # within which an operator has seen a new object
_NEWEST_FIELD = "preRunningDeadlineSeconds"  # of those that the chart uses


@dataclass(frozen=True, slots=True)
class Component:
    """One component of the release, as it is now."""

    name: str
    ready: bool
    detail: str
    """How many are ready, or what is wrong, in words."""


def check_crds(api: Api) -> None:
    """Check that the cluster has the CRDs that the chart needs.

    Raises:
        UserError: KubeRay's CRDs are missing, or older than the fields that the chart uses.
    """
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rayjobs.ray.io"
    try:
        made = api.call("GET", path)
    except UserError:
        # Reading CRDs may not be allowed; whether the API group exists can be seen by all.
        made = api.call("GET", "/apis/ray.io/v1")
        if made is not None:
            return
    if made is None:
        raise UserError(
            "this cluster lacks KubeRay's CRDs: install the operator, 1.6 or later, its CRDs by "
            "`kubectl apply --server-side`"
        )
    if _NEWEST_FIELD not in str(made["spec"]["versions"]):
        raise UserError(
            f"KubeRay's CRDs here are too old (no field {_NEWEST_FIELD}): bring them to 1.6 or "
            "later by `kubectl apply --server-side`; Helm never upgrades CRDs"
        )


def components(api: Api, release: str) -> list[Component]:
    """List the components of a release; where all are ready, also whether its storage answers.

    Raises:
        UserError: there is no such release.
    """
    core, apps = (f"/{one}/namespaces/{api.namespace}" for one in ("api/v1", "apis/apps/v1"))
    jobs = api.call("GET", f"{core}/configmaps/{release}-jobs")
    if jobs is None:
        raise UserError(
            f"there is no release {release!r} in namespace {api.namespace}: python k8s/cluster.py "
            "up --values FILE"
        )
    there = []
    ray = api.call("GET", f"/apis/ray.io/v1/namespaces/{api.namespace}/rayclusters/{release}")
    if ray is not None:
        there.append(_ray(api, ray))
    for name in ("mlflow", "controller"):
        made = api.call("GET", f"{apps}/deployments/{release}-{name}")
        if made is not None:
            label = f"app.kubernetes.io/instance={release},app.kubernetes.io/component={name}"
            there.append(_deployment(name, made, find_problems(api, label)))
    if any(one.name == "mlflow" and one.ready for one in there):
        there.append(_answers(api, f"{release}-mlflow:5000"))
    there.append(_jobs(api, jobs["data"]))
    if all(one.ready for one in there):
        there.append(_store(api, release))
    return there


def _ray(api: Api, cluster: Object) -> Component:
    status, label = cluster.get("status", {}), f"ray.io/cluster={cluster['metadata']['name']}"
    pods = api.call("GET", f"/api/v1/namespaces/{api.namespace}/pods", labelSelector=label)
    outdated = _outdated(cluster, pods["items"])
    wrong = [*find_problems(api, label), *outdated]
    have, want = status.get("readyWorkerReplicas", 0), status.get("desiredWorkerReplicas", 0)
    conditions = {one["type"]: one for one in status.get("conditions", [])}
    head = conditions.get("HeadPodReady", {}).get("status") == "True"
    gpus = _gpus(api, cluster["metadata"]["name"]) if head else "no"
    detail = (
        f"head {'ready' if head else 'not ready'}, {have} of {want} workers, {gpus} of "
        f"{status.get('desiredGPU', '0')} GPUs seen by Ray"
    )
    ready = head and have >= want and bool(status) and not outdated
    if cluster["spec"].get("suspend"):
        wrong += why_queued(api, cluster)
    elif not status and _age_s(cluster) > UNSEEN_S:
        wrong.append(NO_OPERATOR)
    return Component("Ray", ready, "; ".join([detail, *wrong]) if not ready else detail)


def _outdated(cluster: Object, pods: Sequence[Object]) -> list[str]:
    """Describe pods that run another image than their group's template, as before an upgrade."""
    spec = cluster["spec"]
    wanted = {one["groupName"]: _image(one["template"]) for one in spec["workerGroupSpecs"]}
    wanted["headgroup"] = _image(spec["headGroupSpec"]["template"])
    old = [one for one in pods if _image(one) != wanted.get(_group(one), _image(one))]
    if not old:
        return []
    recreated = spec.get("upgradeStrategy", {}).get("type") == "Recreate"
    label = f"ray.io/cluster={cluster['metadata']['name']}"
    cure = "KubeRay replaces them" if recreated else f"kubectl delete pods --selector {label}"
    images = ", ".join(sorted({_image(one) for one in old}))
    return [f"{len(old)} pods run {images}, not the image of this release: {cure}"]


def _image(pod: Object) -> str:
    """Return the image of the container of Ray, which is the first."""
    return str(pod["spec"]["containers"][0]["image"])


def _group(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get("ray.io/group", ""))


def _age_s(made: Object) -> float:
    born = datetime.fromisoformat(made["metadata"]["creationTimestamp"])
    return (datetime.now(UTC) - born).total_seconds()


def _gpus(api: Api, cluster: str) -> str:
    """Return the number of GPUs that Ray itself counts; "unknown" where it does not answer."""
    try:
        token = token_of(api, cluster)
        answer = api.through(f"{cluster}-head-svc:8265", "/api/v0/nodes", token)
    except (AwayError, UserError):
        return "unknown"
    nodes = answer["data"]["result"]["result"] if isinstance(answer, dict) else []
    seen = sum(one["resources_total"].get("GPU", 0) for one in nodes if one["state"] == "ALIVE")
    return f"{seen:g}"


def _deployment(name: str, made: Object, wrong: Sequence[str]) -> Component:
    have = made.get("status", {}).get("readyReplicas", 0)
    want = made["spec"].get("replicas", 1)
    current = made["status"].get("observedGeneration") == made["metadata"]["generation"]
    updated = made["status"].get("updatedReplicas", 0) >= want
    ready = have >= want and current and updated
    detail = f"{have} of {want} pods"
    return Component(name, ready, "; ".join([detail, *wrong]) if not ready else detail)


def _answers(api: Api, service: str) -> Component:
    try:
        said = api.through(service, "/health")
    except AwayError as error:
        return Component("registry", False, str(error))
    except UserError as error:
        return Component("registry", True, f"not checked: {error}")
    return Component("registry", said is not None, f"MLflow answers: {said}")


def _jobs(api: Api, templates: Mapping[str, str]) -> Component:
    """Check that the claims and Secrets exist without which the pods of jobs would never start."""
    needed = {one for text in templates.values() for one in _needed(yaml.safe_load(text))}
    lacking = [f"{kind} {name}" for kind, name in sorted(needed) if not _exists(api, kind, name)]
    if lacking:
        return Component("jobs", False, f"their pods need what is not there: {', '.join(lacking)}")
    kinds = sorted(name.removesuffix(".yaml") for name in templates)
    return Component("jobs", True, f"templates of {', '.join(kinds)}")


def _needed(node: object) -> Iterator[tuple[str, str]]:
    """Yield kind and name of each claim and Secret that a manifest refers to."""
    if isinstance(node, dict):
        if "claimName" in node:
            yield "PersistentVolumeClaim", node["claimName"]
        if "secretKeyRef" in node:
            yield "Secret", node["secretKeyRef"]["name"]
        if "secretName" in node:
            yield "Secret", node["secretName"]
    if isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _needed(child)


def _exists(api: Api, kind: str, name: str) -> bool:
    try:
        found = api.call("GET", f"/api/v1/namespaces/{api.namespace}/{kind.lower()}s/{name}")
    except UserError:
        return True  # reading Secrets may not be allowed; they may exist
    return found is not None


def _store(api: Api, release: str) -> Component:
    """Check the storage from a pod that has its URI and keys."""
    pods = f"/api/v1/namespaces/{api.namespace}/pods"
    for label in (
        f"ray.io/cluster={release},ray.io/node-type=head",
        f"app.kubernetes.io/instance={release},app.kubernetes.io/component=mlflow",
    ):
        for pod in api.call("GET", pods, labelSelector=label)["items"]:
            if pod["status"].get("phase") == "Running" and _storage(pod):
                return _check_from(api, pod)
    return Component("store", True, "not checked: no pod that runs uses it; `helm test` does")


def _storage(pod: Object) -> str:
    """Return where the first container of a pod keeps runs, or artifacts on S3; "" = neither."""
    container = pod["spec"]["containers"][0]
    for variable in container.get("env", []):
        if variable["name"] == "STTN_STORAGE":
            return str(variable["value"])
    flag = "--artifacts-destination="
    words = [str(word) for word in container.get("command", [])]
    return next((w.removeprefix(flag) for w in words if w.startswith(f"{flag}s3://")), "")


def _check_from(api: Api, pod: Object) -> Component:
    name, uri = pod["metadata"]["name"], _storage(pod)
    container = pod["spec"]["containers"][0]["name"]
    try:
        code, said = api.run(name, container, ["python", "-m", "k8s.storage_check", uri])
    except AwayError as error:
        return Component("store", False, str(error))
    except UserError as error:
        return Component("store", True, f"not checked: {error}")
    if code == 0:
        return Component("store", True, f"pod {name} writes and reads {uri}")
    if "No module named" in said:
        return Component("store", True, f"not checked: pod {name} runs another release of sttn")
    return Component("store", False, f"pod {name} says: {short(said)}")
