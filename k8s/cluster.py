"""The whole system as one Helm release: install or upgrade, status, uninstall.

python k8s/cluster.py up --values mine.yaml       # install or upgrade, and wait until all is ready
python k8s/cluster.py up --values mine.yaml --render
python k8s/cluster.py status
python k8s/cluster.py down                        # volumes and data stay
"""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_pipeline.cli.command import Refused, first_few, parse, run_command, say
from k8s import helm
from k8s.config import ClusterCommand, ClusterConfig, DownConfig, UpConfig

if TYPE_CHECKING:
    from k8s.api import Api
    from k8s.release_status import Component

_POLL_S = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(ClusterCommand, argv, prog="k8s/cluster.py", description=str(__doc__))
    if isinstance(config, UpConfig):
        return _up(config)
    from k8s.api import Api
    from k8s.release_status import components

    api = Api(config.context, config.namespace)
    if isinstance(config, DownConfig):
        return _down(config, api)
    return _printed(components(api, config.release))


def _up(config: UpConfig) -> int:
    values = [word for file in config.values for word in ("--values", file)]
    if config.render:
        place = ["--namespace", config.namespace] if config.namespace else []
        say(helm.render([config.release, str(helm.CHART), *values, *place]))
        return 0
    from k8s.api import Api
    from k8s.release_status import check_crds

    api = Api(config.context, config.namespace)
    check_crds(api)
    helm.install(
        [config.release, str(helm.CHART), *values, *_where(config, api), "--create-namespace"]
    )
    say(f"{config.release} is installed in {api.namespace}")
    return _waited(api, config)


def _down(config: DownConfig, api: "Api") -> int:
    from k8s.rayjob import ended
    from k8s.rayjob_client import RayJobs

    jobs = RayJobs(api, config.release)
    busy = [one["metadata"]["name"] for one in jobs.all() if not ended(one)]
    if busy and not config.stop_jobs:
        raise Refused(
            f"at work: {first_few(busy)}. Wait for them, or give --stop-jobs: submitted again, "
            "they resume from their last checkpoint"
        )
    helm.uninstall(config.release, _where(config, api))
    # Only now: no controller is left that would create new ones.
    for one in jobs.all():
        jobs.delete(one["metadata"]["name"])
    say(f"{config.release} is gone from {api.namespace} with its jobs; its volumes and data stay")
    return 0


def _where(config: ClusterConfig, api: "Api") -> list[str]:
    context = ["--kube-context", config.context] if config.context else []
    return ["--namespace", api.namespace, *context]


def _waited(api: "Api", config: UpConfig) -> int:
    """Print each change of a component until all are ready."""
    from k8s.api import AwayError
    from k8s.release_status import Component, components

    end, printed = time.monotonic() + config.wait_seconds, dict[str, str]()
    while True:
        try:
            there = components(api, config.release)
        except AwayError as error:
            there = [Component("API server", False, str(error))]
        for one in there:
            line = _line(one)
            if printed.get(one.name) != line:
                say(line)
                printed[one.name] = line
        if all(one.ready for one in there):
            return 0
        if time.monotonic() > end:
            late = "; ".join(f"{one.name}: {one.detail}" for one in there if not one.ready)
            raise Refused(f"after {config.wait_seconds} s not all is ready: {late}")
        time.sleep(_POLL_S)


def _printed(there: "Sequence[Component]") -> int:
    for one in there:
        say(_line(one))
    return 0 if all(one.ready for one in there) else 1


def _line(one: "Component") -> str:
    return f"{one.name:<12} {'ready' if one.ready else 'NOT READY':<10} {one.detail}"


if __name__ == "__main__":
    sys.exit(main())
