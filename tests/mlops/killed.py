"""`promote` and `prune` in separate processes that are killed before one of their writes."""

import os
import signal

from mlflow import MlflowClient

from mlops import promote, prune
from tests.mlops.forked import FORKS

_WRITES = (
    "create_run",
    "log_batch",
    "set_terminated",
    "set_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
    "delete_model_version",
    "delete_logged_model",
)
_SECONDS = 60


def run(command: str, *argv: str, kill_before: int | None = None) -> int:
    """Run `promote` or `prune`; returns its exit code, -9 when it was killed.

    Args:
        command: name of the module in `mlops`.
        argv: its command line.
        kill_before: number, from 0, of the write to MLflow before which it gets SIGKILL; it ends
            well where there are fewer. None = is not killed.
    """
    process = FORKS.Process(target=_child, args=(command, argv, kill_before))
    process.start()
    process.join(_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def _child(command: str, argv: tuple[str, ...], kill_before: int | None) -> None:
    left = [kill_before]

    def counted(write):
        def wrapper(*args, **kwargs):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if left[0] is not None:
                left[0] -= 1
            return write(*args, **kwargs)

        return wrapper

    for name in _WRITES:
        setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
    raise SystemExit({"promote": promote, "prune": prune}[command].main(argv))
