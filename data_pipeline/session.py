"""The Ray session that a door works in: quiet, local unless a cluster is there, gone at the end."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError, RayTaskError

from data_pipeline.door import Refused

OBJECT_STORE_BYTES = 256 * 2**20

# Read by Ray when it starts; what the user has set wins.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class RayLost(Refused):
    """It says nothing about the work: the same may go well with another Ray."""


@contextmanager
def ray_session(cpus: int) -> Iterator[None]:
    """Make Ray ready and leave it as it was found.

    Uses the session that is open already; else joins the cluster that RAY_ADDRESS names; else
    starts a local Ray with `cpus` CPUs and stops it at the end.

    Raises:
        RayLost: Ray did not start, the cluster does not answer, or it is lost meanwhile.
    """
    try:
        with _session(cpus):
            yield
    except RayTaskError:
        raise  # a fault of this code keeps its traceback
    except RayError as error:
        line = str(error).strip().splitlines()[0]
        raise RayLost(f"Ray gave up ({line}): run the same command to go on") from error


@contextmanager
def _session(cpus: int) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    options: dict[str, Any] = {"logging_level": logging.ERROR}
    if not os.environ.get("RAY_ADDRESS"):
        options |= {
            "address": "local",  # without it Ray joins whatever cluster runs on this machine
            "num_cpus": cpus,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
            # Errors of workers come back as exceptions; the rest is in Ray's session folder.
            "log_to_driver": False,
        }
    try:
        ray.init(**options)
    except Exception as error:  # Ray has no type of its own for it
        line = str(error).strip().splitlines()[0]
        raise RayLost(f"Ray did not start ({line}): run the same command again") from error
    # What goes wrong comes as an exception too; the log would print its traceback first.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        # Its constructor sets fields that it calls deprecated itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.memory_usage_poll_interval_s = None  # nobody looks at it, and it holds up every task
    try:
        yield
    finally:
        ray.shutdown()
