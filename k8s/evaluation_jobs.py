"""Evaluation jobs of a release: one for each version of the registry that is pending.

A version is pending by its tag `evaluation`. The job is `mlops/evaluate.py --promote`, which takes
the version's lease, evaluates it, and decides; nothing of that is here. All state is read again at
each poll, from the registry and from the cluster, so that a restart, a second replica or a missed
poll makes no difference.
"""

from datetime import UTC, datetime
from typing import final

from data_pipeline.cli.command import say
from k8s.api import Api, Object
from k8s.config import ControllerConfig
from k8s.job_request import JobRequest, job_request
from k8s.job_state import SUBMITTED
from k8s.rayjob import end_of, ended, kept_log
from k8s.rayjob_client import RayJobs
from mlops.tracking import names, registry
from mlops.tracking.registry import Version


@final
class EvaluationJobs:
    """The pending versions of a registry, and the evaluation jobs of a release."""

    def __init__(self, api: Api, config: ControllerConfig) -> None:
        """Send no request yet."""
        self._api = api
        self._config = config
        self._jobs = RayJobs(api, config.release)

    def poll(self) -> None:
        """Start jobs for pending versions; report and delete the jobs that have ended."""
        uri, model = self._config.tracking_uri, self._config.model
        pending = {job_for(one).name: one for one in registry.pending(uri, model)}
        known = {
            one["metadata"]["name"]: one
            for one in self._jobs.all("evaluate")
            if one["metadata"]["name"] in pending or _version_in(one, model)
        }
        running = 0
        for name, job in known.items():
            if ended(job):
                self._report(name, job, pending.get(name))
            else:
                running += 1
        for name, version in pending.items():
            if name not in known and running < self._config.max_concurrent_jobs:
                self._start(version)
                running += 1

    def _start(self, version: Version) -> None:
        job = job_for(version)
        if self._jobs.submit(job, once=False) == SUBMITTED:
            say(f"{version.uri}: {job.name} is created")
            made = self._jobs.find(job.name)
            if made is not None:
                self._event(made, "Normal", "EvaluationStarted", f"evaluates {version.uri}")

    def _report(self, name: str, job: Object, version: Version | None) -> None:
        """Report how a job ended, to the registry if the job itself did not, and delete it."""
        end = end_of(name, job)
        if version is not None and end.code != 0:
            # Still pending: the job ended before it could write its result, and nobody else will.
            tags = {
                names.EVALUATION: names.EVALUATION_FAILED,
                names.EVALUATION_PROBLEM: end.message,
            }
            registry.set_tags(self._config.tracking_uri, version, tags)
        about = f"models:/{self._config.model}/{_version_in(job, self._config.model)}"
        kind = "Normal" if end.code == 0 else "Warning"
        reason = "EvaluationDone" if end.code == 0 else "EvaluationFailed"
        # The job is deleted now, and its log with its cluster.
        log = f"; its log is kept at {uri}" if (uri := kept_log(job)) else ""
        self._event(job, kind, reason, f"{about}: {end.message}{log}")
        say(f"{about}: {end.message}{log}")
        self._jobs.delete(name)

    def _event(self, job: Object, kind: str, reason: str, message: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        about = job["metadata"]
        event: Object = {
            "metadata": {"generateName": f"{about['name']}.", "namespace": self._api.namespace},
            "involvedObject": {
                "apiVersion": "ray.io/v1",
                "kind": "RayJob",
                "name": about["name"],
                "namespace": self._api.namespace,
                "uid": about["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message[:1000],
            "source": {"component": f"{self._config.release}-controller"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._api.call("POST", f"/api/v1/namespaces/{self._api.namespace}/events", event)


def job_for(version: Version) -> JobRequest:
    """Build the job that evaluates a version and decides about it."""
    return job_request("evaluate", "", ["--model", f"models:/{version.name}/{version.version}"])


def _version_in(job: Object, model: str) -> str:
    """Return the number of the version that a job evaluates; "" of another model, or an alias."""
    words = str(job["spec"]["entrypoint"]).split()
    marked = f"models:/{model}/"
    return next((w.removeprefix(marked) for w in words if w.startswith(marked)), "")
