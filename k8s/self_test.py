"""Tests the release from inside the cluster, as its pods use it; `helm test` runs this.

python k8s/self_test.py [--address http://sttn-head-svc:8265] [--ray-version 2.60.0]

Writes, reads and removes a file of the storage; registers and removes a model of its own; submits a
job to Ray, where it has the address of a cluster; and checks the version of Ray in this image.
"""

import secrets
import sys
from collections.abc import Callable, Sequence

from data_pipeline.cli.command import Refused, parse, say
from data_pipeline.cli.scratch import scratch_folder
from k8s.config import SelfTestConfig
from mlops.tracking.command import run_command

_NAME = "sttn-self-test"
_SAID = "a job of the self-test ran here"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(SelfTestConfig, argv, prog="k8s/self_test.py", description=str(__doc__))
    from k8s import storage_check
    from k8s.job_request import check_ray

    mark = secrets.token_hex(4)
    if config.ray_version:
        check_ray(config.ray_version, "the chart (ray.version) says")
    steps: dict[str, Callable[[], str]] = {
        "store": lambda: storage_check.check_storage(config.storage),
        "registry": lambda: _registry(config.tracking_uri, mark),
    }
    if config.address:
        steps["ray"] = lambda: _ray(config.address, mark)
    for name, step in steps.items():
        say(f"{name}: {step()}")
    return 0


def _registry(uri: str, mark: str) -> str:
    from mlops.tracking import connection, registry

    name, experiment = f"{_NAME}-{mark}", connection.experiment_id(uri)
    known = connection.client(uri)
    run_id = known.create_run(experiment, run_name=name).info.run_id
    try:
        with scratch_folder("self-test") as folder:
            (folder / "MLmodel").write_text("flavors: {}\n")
            version = registry.register(
                uri, name=name, run_id=run_id, clips=0, model_dir=folder, tags={}
            )
        registry.delete(uri, version)
        known.delete_registered_model(name)
    finally:
        known.delete_run(run_id)
    return f"{version.uri} was registered and removed at {uri}"


def _ray(address: str, mark: str) -> str:
    from k8s.job_request import JobRequest
    from k8s.jobs_api import JobsApi

    jobs, printed = JobsApi(address), list[str]()
    name, arguments = f"{_NAME}-{mark}", f"-c \"print('{_SAID}')\""
    jobs.submit(JobRequest(name, "self-test", arguments, f"python {arguments}"))
    end = jobs.follow(name, printed.append)
    if end.code or _SAID not in "".join(printed):
        raise Refused(f"{end.message}: {''.join(printed)}")
    return f"{name} ran at {address}"


if __name__ == "__main__":
    sys.exit(main())
