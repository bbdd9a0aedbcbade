"""Door: tries the system from inside, as its pods use it; `helm test` runs this.

python k8s/trial.py [--address http://sttn-head-svc:8265] [--ray-version 2.60.0]

Writes, reads and removes a file of the store; registers and removes a model of its own; submits a
job to Ray, where it has the address of a cluster; and sees that Ray here is what the chart says.
"""

import secrets
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from data_pipeline.door import Refused, parse, say
from k8s import store
from k8s.asked import Asked, check_ray
from k8s.bare import Jobs
from k8s.config import TrialConfig
from mlops import registry, tracking
from mlops.door import run_door

_NAME = "sttn-trial"
_SAID = "a job of the trial ran here"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(TrialConfig, argv, prog="k8s/trial.py", description=str(__doc__))
    mark = secrets.token_hex(4)
    if config.ray_version:
        check_ray(config.ray_version, "the chart (ray.version) says")
    steps: dict[str, Callable[[], str]] = {
        "store": lambda: store.tried(config.storage),
        "registry": lambda: _registry(config.tracking_uri, mark),
    }
    if config.address:
        steps["ray"] = lambda: _ray(config.address, mark)
    for name, step in steps.items():
        say(f"{name}: {step()}")
    return 0


def _registry(uri: str, mark: str) -> str:
    known = tracking.client(uri)
    name = f"{_NAME}-{mark}"
    run_id = known.create_run(tracking.experiment_id(uri), run_name=name).info.run_id
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "MLmodel").write_text("flavors: {}\n")
            version = registry.register(
                uri, name=name, run_id=run_id, clips=0, model_dir=Path(folder), tags={}
            )
        registry.delete(uri, version)
        known.delete_registered_model(name)
    finally:
        known.delete_run(run_id)
    return f"{version.uri} was registered and removed at {uri}"


def _ray(address: str, mark: str) -> str:
    jobs, printed = Jobs(address), list[str]()
    name, arguments = f"{_NAME}-{mark}", f"-c \"print('{_SAID}')\""
    jobs.submit(Asked(name, "trial", arguments, f"python {arguments}"))
    end = jobs.follow(name, printed.append)
    if end.code or _SAID not in "".join(printed):
        raise Refused(f"{end.message}: {''.join(printed)}")
    return f"{name} ran at {address}"


if __name__ == "__main__":
    sys.exit(main())
