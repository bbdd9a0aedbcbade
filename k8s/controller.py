"""Door: makes one evaluation job for each version of the registry that asks for it.

python k8s/controller.py --release sttn            # a deployment of the chart runs this

A version asks by its tag `evaluation` = `pending`. The job is `mlops/evaluate.py --promote`, which
takes the version's lease, evaluates it, and decides; nothing of that is here. Everything that this
knows it reads again at each look, from the registry and from the cluster, so that a restart, a
second replica, and a look that was missed make no difference.
"""

import socket
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import final

from mlflow.exceptions import MlflowException

from data_pipeline.door import Refused, UserError, parse, say
from k8s.api import Api, AwayError, Object
from k8s.asked import Asked, asked
from k8s.config import ControllerConfig
from k8s.jobs import RayJobs
from k8s.leader import Leader
from k8s.rayjob import end_of, ended
from k8s.state import SUBMITTED
from mlops import names, registry
from mlops.door import run_door
from mlops.registry import Version

_LEASES = 3  # looks without renewal until another replica leads


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; it never ends of itself."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(ControllerConfig, argv, prog="k8s/controller.py", description=str(__doc__))
    api = Api(config.context, config.namespace)
    name = f"{config.release}-controller"
    seconds = max(15, round(_LEASES * config.every_seconds))
    leader = Leader(api, name, config.identity or socket.gethostname(), seconds)
    controller = Controller(api, config)
    say(f"evaluates versions of {config.model} in {api.namespace}, {config.most} at a time")
    while True:
        try:
            if leader.leads():
                controller.look()
        except (AwayError, Refused, UserError, OSError, MlflowException) as error:
            # The registry or the API server is away, or a right is missing: it may change.
            say(f"could not look: {' '.join(str(error).split())[:500]}")
        time.sleep(config.every_seconds)


@final
class Controller:
    """What waits in a registry, and the jobs of a release."""

    def __init__(self, api: Api, config: ControllerConfig) -> None:
        """Nothing is asked yet."""
        self._api = api
        self._config = config
        self._jobs = RayJobs(api, config.release)

    def look(self) -> None:
        """Once: make jobs for what waits, report and remove those that have ended."""
        uri, model = self._config.tracking_uri, self._config.model
        waiting = {job_for(one).name: one for one in registry.pending(uri, model)}
        known = {
            one["metadata"]["name"]: one
            for one in self._jobs.all("evaluate")
            if one["metadata"]["name"] in waiting or _version_in(one, model)
        }
        at_work = 0
        for name, job in known.items():
            if ended(job):
                self._reported(name, job, waiting.get(name))
            else:
                at_work += 1
        for name, version in waiting.items():
            if name not in known and at_work < self._config.most:
                self._start(version)
                at_work += 1

    def _start(self, version: Version) -> None:
        job = job_for(version)
        if self._jobs.submit(job, once=False) == SUBMITTED:
            say(f"{version.uri}: {job.name} is made")
            made = self._jobs.find(job.name)
            if made is not None:
                self._event(made, "Normal", "EvaluationStarted", f"evaluates {version.uri}")

    def _reported(self, name: str, job: Object, version: Version | None) -> None:
        """Say how a job ended, where that is not known yet, and remove it."""
        end = end_of(name, job)
        if version is not None and end.code != 0:
            # It ended without a word about the version: nobody else will say one.
            tags = {
                names.EVALUATION: names.EVALUATION_FAILED,
                names.EVALUATION_PROBLEM: end.message,
            }
            registry.set_tags(self._config.tracking_uri, version, tags)
        about = f"models:/{self._config.model}/{_version_in(job, self._config.model)}"
        kind = "Normal" if end.code == 0 else "Warning"
        reason = "EvaluationDone" if end.code == 0 else "EvaluationFailed"
        self._event(job, kind, reason, f"{about}: {end.message}")
        say(f"{about}: {end.message}")
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


def job_for(version: Version) -> Asked:
    """The job that evaluates a version and decides about it."""
    return asked("evaluate", "", ["--model", f"models:/{version.name}/{version.version}"])


def _version_in(job: Object, model: str) -> str:
    """Number of the version that a job evaluates; "" of another model, or by an alias."""
    words = str(job["spec"]["entrypoint"]).split()
    marked = f"models:/{model}/"
    return next((w.removeprefix(marked) for w in words if w.startswith(marked)), "")


if __name__ == "__main__":
    sys.exit(main())
