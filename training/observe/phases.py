"""Seconds of one process by phase."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

DATA, LEARNING, CURVES = "data", "learning", "curves"
VALIDATION, CHECKPOINTS = "validation", "checkpoints"


class Phases:
    """A stopwatch for each phase of the loop.

    On a GPU `LEARNING` only queues work; the first phase that reads a result waits for it, mostly
    `CURVES`.
    """

    def __init__(self) -> None:
        self.total: dict[str, float] = {}
        """Seconds so far."""
        self._interval: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count the block's seconds under a name."""
        began = time.monotonic()
        try:
            yield
        finally:
            for seconds in (self.total, self._interval):
                seconds[name] = seconds.get(name, 0.0) + time.monotonic() - began

    def interval(self) -> dict[str, float]:
        """Seconds since the last call."""
        taken, self._interval = self._interval, {}
        return taken
