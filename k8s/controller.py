"""Start an evaluation job for each version of the registry that is pending.

python k8s/controller.py --release sttn            # a deployment of the chart runs this
"""

import socket
import sys
import time
from collections.abc import Sequence

from data_pipeline.cli.command import Refused, UserError, parse, say
from k8s.config import RENAMED_CONTROLLER, ControllerConfig
from mlops.tracking.command import run_command

_LEASE_POLLS = 3  # polls without renewal until another replica leads


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; it never ends of itself."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(
        ControllerConfig,
        argv,
        prog="k8s/controller.py",
        description=str(__doc__),
        renamed=RENAMED_CONTROLLER,
    )
    from mlflow.exceptions import MlflowException

    from data_pipeline.tracking.store_errors import translated
    from k8s.api import Api, AwayError
    from k8s.evaluation_jobs import EvaluationJobs
    from k8s.leader_election import Leader

    api = Api(config.context, config.namespace)
    name = f"{config.release}-controller"
    seconds = max(15, round(_LEASE_POLLS * config.every_seconds))
    leader = Leader(api, name, config.identity or socket.gethostname(), seconds)
    jobs = EvaluationJobs(api, config)
    say(
        f"evaluates versions of {config.model} in {api.namespace}, "
        f"{config.max_concurrent_jobs} at a time"
    )
    while True:
        try:
            if leader.leads():
                with translated(config.tracking_uri):
                    jobs.poll()
        except (AwayError, Refused, UserError, OSError, MlflowException) as error:
            # The registry or the API server is away, or a right is missing: it may change.
            say(f"poll failed: {' '.join(str(error).split())[:500]}")
        time.sleep(config.every_seconds)


if __name__ == "__main__":
    sys.exit(main())
