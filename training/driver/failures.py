"""Permanent errors of a worker, which end a run at once.

After all others the workers are restarted, `max_restarts` times: a process or a node is lost, a
store does not answer, a rank reports (RuntimeError) that another one is gone.
"""

import ray
from ray.train import UserCallback
from ray.train.v2._internal.execution.context import TrainRunContext

from data_pipeline.cli.command import Refused, UserError
from data_pipeline.storage.store import DiskFull, TransientError

# Of code and config; none of them is raised by an outage.
_PERMANENT = (
    UserError,
    Refused,
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
)


def is_permanent(error: Exception) -> bool:
    """True where a restart would fail in the same way."""
    return isinstance(error, _PERMANENT) and not isinstance(error, (TransientError, DiskFull))


class Ending(UserCallback):
    """Keeps Ray Train from restarting workers of a run that has ended.

    It runs in Ray Train's controller, which never restarts after an error of a callback.
    """

    def __init__(self, board: "ray.actor.ActorHandle[object]") -> None:
        self._board = board

    def after_exception(
        self, run_context: TrainRunContext, worker_exceptions: dict[int, Exception]
    ) -> None:
        """Raise when the run has ended."""
        del run_context, worker_exceptions
        if ray.get(self._board.ended.remote()):
            raise RuntimeError("the run has ended: its board has the reason")
