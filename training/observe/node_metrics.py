"""Load of one node during a run, under MLflow's own names.

MLflow's monitors measure it. Its own thread is not used: it would bypass the journal, and end at
the first outage.
"""

import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from data_pipeline.cli.background import in_background
from mlops.tracking import names
from mlops.tracking.journal import now_ms
from training.observe.journals import open_journal
from training.observe.watchdog import Watchdog

_EVERY_S = 10.0
_CLOSE_S = 5.0


@contextmanager
def node_metrics(
    tracking_uri: str, run_id: str, node_id: str, watch: Watchdog, *, gpu: bool
) -> Iterator[None]:
    """Measure this node for the time of the block; for one worker of each node.

    Args:
        tracking_uri: MLflow's.
        run_id: of the run.
        node_id: Ray's; two nodes may be on one machine.
        watch: knows how many clips were seen.
        gpu: the workers compute on GPUs.
    """
    monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    if gpu:
        monitors.append(GPUMonitor())
    journal = open_journal(tracking_uri, run_id, node_id)

    def measure(over: threading.Event) -> None:
        _measured(monitors)  # load is measured since the call before
        ended = False
        while not ended:
            ended = over.wait(_EVERY_S)
            values = _measured(monitors)
            journal.append({"clips": watch.clips, "time_ms": now_ms(), "values": values})

    try:
        with in_background("node metrics", measure):
            yield
    except BaseException:
        journal.close(1.0)  # the other workers wait for this one to be gone
        raise
    journal.close(_CLOSE_S)


def _measured(monitors: Sequence[BaseMetricsMonitor]) -> dict[str, float]:
    """Name, with that of the node -> value."""
    prefix = f"{names.SYSTEM}{re.sub('[^A-Za-z0-9_. -]', '-', socket.gethostname())}/"
    values: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        values |= monitor.aggregate_metrics()
        monitor.clear_metrics()
    return {prefix + name: float(value) for name, value in values.items()}
