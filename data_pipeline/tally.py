"""What the tasks of a job are doing, counted in one place while they still run.

It also survives the workers: a video whose worker died again and again is found here.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, final

import ray
from ray.exceptions import RayError

from data_pipeline.plan import MEGABYTE
from data_pipeline.progress import Progress

_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Counts:
    """What was done so far."""

    videos: int
    frames: int
    bytes: int
    """Of frames."""
    rejected: int
    """Videos that were left out."""


@final
class Tally:
    """What a task tells; made by `tally`, travels to the workers."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self._frames = self._bytes = 0
        self._sent = time.monotonic()

    def begin(self, video: str) -> int:
        """Say that a video is begun; returns how often a worker died over it before."""
        deaths: int = ray.get(self._ledger.begin.remote(video))
        return deaths

    def frame(self, size: int) -> None:
        """Count one frame of so many bytes."""
        self._frames += 1
        self._bytes += size
        if time.monotonic() - self._sent >= _EVERY_S:
            self._send()

    def end(self, video: str, *, rejected: bool) -> None:
        """Say that a video is done, or left out."""
        self._send()
        self._ledger.end.remote(video, rejected)

    def _send(self) -> None:
        self._ledger.add.remote(self._frames, self._bytes)
        self._frames = self._bytes = 0
        self._sent = time.monotonic()


@contextmanager
def tally(shown: Progress) -> Iterator[Tally]:
    """Count what tasks tell, and show it: videos, frames per second, bytes, rejected."""
    # It may lose its node; then it counts from nothing again.
    lasting = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    ledger: Any = lasting(_Ledger).remote()
    watcher = _Watcher(ledger, shown)
    watcher.start()
    try:
        yield Tally(ledger)
    finally:
        watcher.stop()
        with suppress(RayError):
            ray.kill(ledger)


class _Ledger:
    """The actor that holds the sums. A task that Ray ran twice counts its videos once."""

    def __init__(self) -> None:
        self._frames = self._bytes = 0
        self._begun: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._rejected: set[str] = set()

    def begin(self, video: str) -> int:
        """Note one more try; returns the tries that never came to an end."""
        deaths = self._begun[video] - self._ended[video]
        self._begun[video] += 1
        return deaths

    def add(self, frames: int, size: int) -> None:
        """Note frames and their bytes."""
        self._frames += frames
        self._bytes += size

    def end(self, video: str, rejected: bool) -> None:
        """Note the end of a try."""
        self._ended[video] += 1
        if rejected:
            self._rejected.add(video)

    def read(self) -> Counts:
        """The sums so far."""
        return Counts(len(self._ended), self._frames, self._bytes, len(self._rejected))


class _Watcher(threading.Thread):
    """Shows the sums while the job runs, and once more at its end."""

    def __init__(self, ledger: Any, shown: Progress) -> None:
        super().__init__(name="tally", daemon=True)
        self._ledger, self._shown = ledger, shown
        self._start, self._began = shown.done, time.monotonic()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._show()

    def stop(self) -> None:
        """Show the sums once more, and no longer."""
        self._over.set()
        self.join()
        self._show()

    def _show(self) -> None:
        try:
            sums: Counts = ray.get(self._ledger.read.remote())
        except RayError:  # its node is gone; the job says what that means
            return
        rate = sums.frames / max(time.monotonic() - self._began, 1e-9)
        self._shown.at(
            self._start + sums.videos,
            f"{sums.frames} frames, {rate:.0f} frames/s, {sums.bytes / MEGABYTE:.1f} MB, "
            f"{sums.rejected} rejected",
        )
