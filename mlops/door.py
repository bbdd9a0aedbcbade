"""Doors that talk to MLflow: as any other, and what MLflow says no with becomes one line."""

import os
import re
from collections.abc import Callable, Sequence

import mlflow
from mlflow.exceptions import MlflowException

from data_pipeline import door
from data_pipeline.door import UserError
from mlops import tracking

_STATUS = re.compile(r"error code (\d{3})")
_STATUS_OF = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
_UNREACHABLE = re.compile(
    r"Max retries exceeded|Connection (refused|reset|aborted)|Failed to establish|Read timed out"
)


def run_door(body: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """`door.run_door`, with an MLflow that gives up soon and is quoted in a line."""
    tracking.impatient()

    def quoted(argv: Sequence[str]) -> int:
        try:
            return body(argv)
        except MlflowException as error:
            said = _in_words(error)
            if said is None:
                raise  # a fault of ours, or of MLflow: its traceback is needed
            raise UserError(said) from error

    return door.run_door(quoted, argv)


def _in_words(error: MlflowException) -> str | None:
    """What the user did not set up for it, None when it is something else."""
    uri, text = mlflow.get_tracking_uri(), str(error)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    found = _STATUS.search(text)
    status = int(found[1]) if found else _STATUS_OF.get(error.error_code)
    if "Invalid Host header" in text:
        return (
            f"MLflow at {uri} does not answer to that host name: start it with --allowed-hosts and "
            "the name, with and without the port"
        )
    if status == 401:
        no = f"does not know user {user!r} with this password" if user else "wants to know who asks"
        return f"MLflow at {uri} {no}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == 403:
        return f"MLflow at {uri} does not let user {user!r} do this: ask its administrator for it"
    if _UNREACHABLE.search(text):
        return f"MLflow at {uri} does not answer: start it, or give another --tracking-uri"
    return None
