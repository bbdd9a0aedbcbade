"""Door: the whole system as one Helm release, and how it is.

python k8s/cluster.py up --values mine.yaml       # install or upgrade, and wait until all is there
python k8s/cluster.py up --values mine.yaml --render
python k8s/cluster.py status
python k8s/cluster.py down                        # volumes and data stay
"""

import sys
import time
from collections.abc import Sequence

from data_pipeline.door import Refused, first_few, parse, run_door, say
from k8s import helm
from k8s.api import Api, AwayError
from k8s.config import ClusterCommand, ClusterConfig, DownConfig, UpConfig
from k8s.jobs import RayJobs
from k8s.parts import Part, check_kinds, parts
from k8s.rayjob import ended

_LOOK_S = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(ClusterCommand, argv, prog="k8s/cluster.py", description=str(__doc__))
    if isinstance(config, UpConfig):
        return _up(config)
    api = Api(config.context, config.namespace)
    if isinstance(config, DownConfig):
        return _down(config, api)
    return _told(parts(api, config.release))


def _up(config: UpConfig) -> int:
    values = [word for file in config.values for word in ("--values", file)]
    if config.render:
        place = ["--namespace", config.namespace] if config.namespace else []
        say(helm.rendered([config.release, str(helm.CHART), *values, *place]))
        return 0
    api = Api(config.context, config.namespace)
    check_kinds(api)
    helm.installed(
        [config.release, str(helm.CHART), *values, *_where(config, api), "--create-namespace"]
    )
    say(f"{config.release} is installed in {api.namespace}")
    return _waited(api, config)


def _down(config: DownConfig, api: Api) -> int:
    jobs = RayJobs(api, config.release)
    busy = [one["metadata"]["name"] for one in jobs.all() if not ended(one)]
    if busy and not config.stop_jobs:
        raise Refused(
            f"at work: {first_few(busy)}. Wait for them, or say --stop-jobs: submitted again, they "
            "go on from their last checkpoint"
        )
    helm.uninstalled(config.release, _where(config, api))
    # Now that no controller makes new ones.
    for one in jobs.all():
        jobs.delete(one["metadata"]["name"])
    say(f"{config.release} is gone from {api.namespace} with its jobs; its volumes and data stay")
    return 0


def _where(config: ClusterConfig, api: Api) -> list[str]:
    context = ["--kube-context", config.context] if config.context else []
    return ["--namespace", api.namespace, *context]


def _waited(api: Api, config: UpConfig) -> int:
    """Tell what changes until all parts are ready."""
    end, told = time.monotonic() + config.wait_seconds, dict[str, str]()
    while True:
        try:
            there = parts(api, config.release)
        except AwayError as error:
            there = [Part("API server", False, str(error))]
        for part in there:
            line = _line(part)
            if told.get(part.name) != line:
                say(line)
                told[part.name] = line
        if all(part.ready for part in there):
            return 0
        if time.monotonic() > end:
            late = "; ".join(f"{part.name}: {part.detail}" for part in there if not part.ready)
            raise Refused(f"after {config.wait_seconds} s not all is ready: {late}")
        time.sleep(_LOOK_S)


def _told(there: Sequence[Part]) -> int:
    for part in there:
        say(_line(part))
    return 0 if all(part.ready for part in there) else 1


def _line(part: Part) -> str:
    return f"{part.name:<12} {'ready' if part.ready else 'NOT READY':<10} {part.detail}"


if __name__ == "__main__":
    sys.exit(main())
