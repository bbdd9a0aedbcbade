"""Progress of a running job: its tasks report to one actor, and the driver shows the sums.

The actor outlives the workers, so a video that kills its worker again and again is found here.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import ray
from ray.exceptions import RayError

from data_pipeline.build.plan import MEGABYTE
from data_pipeline.cli.background import in_background
from data_pipeline.cli.progress import Progress
from data_pipeline.cli.ray_session import actor_beside_driver
from data_pipeline.cli.rejection import Tries

_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over the tasks so far."""

    videos: int
    frames: int
    bytes: int
    """Size of the frames."""
    rejected: int
    """Videos that were left out."""


@final
class Reporter:
    """Sends the progress of a task to the actor; made by `collect_progress`, travels to workers."""

    def __init__(self, totals: Any) -> None:
        self._totals = totals
        self._frames = self._bytes = 0
        self._sent = time.monotonic()

    def begin(self, video: str) -> int:
        """Report that a video is begun; return how often a worker died over it before."""
        deaths: int = ray.get(self._totals.begin.remote(video))
        return deaths

    def frame(self, size: int) -> None:
        """Count one frame of so many bytes."""
        self._frames += 1
        self._bytes += size
        if time.monotonic() - self._sent >= _EVERY_S:
            self._send()

    def end(self, video: str, *, rejected: bool) -> None:
        """Report that a video is done, or left out."""
        self._send()
        self._totals.end.remote(video, rejected)

    def _send(self) -> None:
        self._totals.add.remote(self._frames, self._bytes)
        self._frames = self._bytes = 0
        self._sent = time.monotonic()


@contextmanager
def collect_progress(shown: Progress) -> Iterator[Reporter]:
    """Sum up what tasks report, and show it: videos, frames per second, bytes, rejected."""
    totals = actor_beside_driver(_Totals)
    try:
        with in_background("build progress", partial(_watch, totals, shown)):
            yield Reporter(totals)
    finally:
        with suppress(RayError):
            ray.kill(totals)


class _Totals:
    """The actor that holds the sums. A task that Ray ran twice counts its videos once."""

    def __init__(self) -> None:
        self._frames = self._bytes = 0
        self._tries = Tries()
        self._ended: set[str] = set()
        self._rejected: set[str] = set()

    def begin(self, video: str) -> int:
        """Count one more try; return the tries that never came to an end."""
        return self._tries.begin(video)

    def add(self, frames: int, size: int) -> None:
        """Add frames and their bytes."""
        self._frames += frames
        self._bytes += size

    def end(self, video: str, rejected: bool) -> None:
        """Count the end of a try."""
        self._tries.end(video)
        self._ended.add(video)
        if rejected:
            self._rejected.add(video)

    def read(self) -> Counts:
        """Return the sums so far."""
        return Counts(len(self._ended), self._frames, self._bytes, len(self._rejected))


def _watch(totals: Any, shown: Progress, over: threading.Event) -> None:
    """Show the sums while the job runs, and once more at its end."""
    start, began = shown.done, time.monotonic()
    ended = False
    while not ended:
        ended = over.wait(_EVERY_S)
        try:
            sums: Counts = ray.get(totals.read.remote())
        except RayError:  # its node is gone; the job says what that means
            continue
        rate = sums.frames / max(time.monotonic() - began, 1e-9)
        shown.at(
            start + sums.videos,
            f"{sums.frames} frames, {rate:.0f} frames/s, {sums.bytes / MEGABYTE:.1f} MB, "
            f"{sums.rejected} rejected",
        )
