"""Load of one node while a run goes on, under MLflow's own names for it.

Measured by MLflow's monitors; its own thread would write past the journal, and end at the first
outage.
"""

import re
import socket
import threading
from types import TracebackType

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from mlops import names
from mlops.journal import now_ms
from training.journals import opened
from training.watch import Watch

_EVERY_S = 10.0
_CLOSE_S = 5.0


class NodeMetrics:
    """`with` it in one worker of each node.

    Args:
        tracking_uri: MLflow's.
        run_id: of the run.
        node_id: Ray's; two nodes may be on one machine.
        watch: says how many clips were seen.
        gpu: the workers compute on GPUs.
    """

    def __init__(
        self, tracking_uri: str, run_id: str, node_id: str, watch: Watch, *, gpu: bool
    ) -> None:
        self._journal = opened(tracking_uri, run_id, node_id)
        self._watch = watch
        monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        self._monitors = [*monitors, GPUMonitor()] if gpu else monitors
        self._prefix = f"{names.SYSTEM}{re.sub('[^A-Za-z0-9_. -]', '-', socket.gethostname())}/"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node metrics", daemon=True)

    def __enter__(self) -> "NodeMetrics":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._journal.close(_CLOSE_S if error is None else 1.0)

    def _run(self) -> None:
        self._measured()  # load is what happened since the time before
        over = False
        while not over:
            over = self._over.wait(_EVERY_S)
            self._journal.append(
                {"clips": self._watch.clips, "time_ms": now_ms(), "values": self._measured()}
            )

    def _measured(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return {self._prefix + name: float(value) for name, value in values.items()}
