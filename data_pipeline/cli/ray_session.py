"""The Ray session of a command: quiet, local unless a cluster is named, stopped at the end."""

import logging
import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.data
from ray.exceptions import RayError, RayTaskError

from data_pipeline.cli import ray_cluster, scratch, signals
from data_pipeline.cli.command import Refused
from data_pipeline.cli.ray_cluster import Unusable

OBJECT_STORE_BYTES = 256 * 2**20
_MAX_CHARS = 500  # characters of what Ray says, which may be a table

NODE_ID = "ray.io/node-id"  # a label that Ray gives to each node

# Read by Ray when it starts; what the user has set wins.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class RayLost(Refused):
    """Ray failed, not the work: the same command may succeed with another session."""


def check() -> None:
    """Check that a session can be had, before work begins.

    Raises:
        Unusable: it cannot, as the environment is.
    """
    if not ray.is_initialized():
        ray_cluster.check()


@contextmanager
def ray_session(cpus: int) -> Iterator[None]:
    """Open a Ray session and leave Ray as it was found.

    Uses the session that is open already; else joins the cluster that RAY_ADDRESS names; else
    starts a local Ray with `cpus` CPUs and stops it at the end.

    Raises:
        Unusable: see `ray_cluster.check`.
        RayLost: Ray did not start, or failed meanwhile.
    """
    try:
        with _session(cpus):
            yield
    except RayTaskError:
        raise  # a fault of this code keeps its traceback
    except RayError as error:
        raise RayLost(
            f"Ray gave up ({_causes(error)[:_MAX_CHARS]}): run the same command to resume"
        ) from error


def actor_beside_driver(kind: type) -> Any:
    """Start an actor without CPUs on the node of this process; returns its handle.

    Ray places such an actor on any node, and a job would end with a node that only works for it.
    """
    here = {NODE_ID: ray.get_runtime_context().get_node_id()}
    return ray.remote(num_cpus=0, label_selector=here)(kind).remote()


@contextmanager
def _session(cpus: int) -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    ray_cluster.check()
    options: dict[str, Any] = {"logging_level": logging.ERROR}
    if not ray_cluster.is_named(os.environ):
        options |= {
            "address": "local",  # without it Ray joins whatever cluster runs on this machine
            "num_cpus": cpus,
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
            # Errors of workers come back as exceptions; the rest is in Ray's session folder.
            "log_to_driver": False,
        }
    try:
        _start(options)
        _quiet()
        yield
    finally:
        ray.shutdown(wait_for_processes=True)
        scratch.sweep()  # workers are killed


def _start(options: dict[str, Any]) -> None:
    """Call `ray.init` and keep our handlers: it takes SIGTERM for itself, in Python and below."""
    try:
        with signals.kept():
            ray.init(**options)
    except SystemExit:  # how Ray takes a SIGTERM: ours is in force again
        os.kill(os.getpid(), signal.SIGTERM)
    except Exception as error:  # Ray has no type of its own for it
        why = _causes(error)
        if ray_cluster.is_named(os.environ):
            named = os.environ[ray_cluster.ADDRESS]
            raise Unusable(
                f"{ray_cluster.ADDRESS} is {named!r}, and Ray refused ({why})"
            ) from error
        raise RayLost(f"Ray did not start ({why}): run the same command again") from error


def _causes(error: BaseException | None) -> str:
    """Join the messages of an error of Ray and of its causes in one line."""
    said = []
    while error is not None:
        said.append(" ".join(str(error).split()) or type(error).__name__)
        error = error.__cause__
    return "; ".join(dict.fromkeys(said))


def _quiet() -> None:
    # What goes wrong comes as an exception too; the log would print its traceback first.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        # Its constructor sets fields that it calls deprecated itself.
        warnings.simplefilter("ignore", DeprecationWarning)
        context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.memory_usage_poll_interval_s = None  # it is not used, and delays every task
