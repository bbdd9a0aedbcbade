"""Progress of everything that takes more than a few seconds.

A bar with the time left in a terminal, plain lines elsewhere. Always on stderr, so that stdout
stays for results.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import rich.progress
from rich.console import Console

LINE_EVERY_S = 5.0

Listener = Callable[[int, int], object]
"""Is given the units that are done, and how many there are; what it raises ends the work."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


class Progress:
    """Progress of one piece of work; made by `progress`."""

    def __init__(
        self, what: str, total: int, unit: str, start: int, bar: rich.progress.Progress | None
    ) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._start = self._done = start
        self._began = self._printed = time.monotonic()
        self._note = ""
        self._bar = bar
        self._task = bar.add_task(what, total=total, completed=start, note="") if bar else None

    @property
    def done(self) -> int:
        """Number of units that are done."""
        return self._done

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count `n` more units as done; `note` replaces the text behind the numbers."""
        self.at(self._done + n, note)

    def at(self, done: int, note: str = "") -> None:
        """Set the number of units that are done."""
        self._done = done
        self._note = note or self._note
        if (listener := _listener.get()) is not None:
            listener(done, self._total)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, note=self._note)
        elif listener is None and time.monotonic() - self._printed >= LINE_EVERY_S:
            self.print_line()

    def print_line(self) -> None:
        """Print the progress as one plain line (nothing where a bar shows it)."""
        if self._bar is not None:
            return
        self._printed = time.monotonic()
        rate = (self._done - self._start) / max(self._printed - self._began, 1e-9)
        parts = [f"{self._what}: {self._done}/{self._total} {self._unit}"]
        parts.append(f"{rate:.1f} {self._unit}/s")
        if rate > 0 and self._done < self._total:
            parts.append(f"ETA {_time(round((self._total - self._done) / rate))}")
        parts += [self._note] if self._note else []
        sys.stderr.write(", ".join(parts) + "\n")
        sys.stderr.flush()


@contextmanager
def progress(what: str, total: int, unit: str, *, start: int = 0) -> Iterator[Progress]:
    """Show the progress of `what`, from `start` (units an earlier run did) to `total` units."""
    console = Console(stderr=True)
    if _listener.get() is not None:
        yield Progress(what, total, unit, start, None)
        return
    if not console.is_terminal:
        plain = Progress(what, total, unit, start, None)
        try:
            yield plain
        finally:
            plain.print_line()
        return
    columns = (
        "{task.description}",
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        unit,
        "ETA",
        rich.progress.TimeRemainingColumn(),
        "{task.fields[note]}",
    )
    with rich.progress.Progress(*columns, console=console) as bar:
        yield Progress(what, total, unit, start, bar)


@contextmanager
def progress_told_to(listener: Listener) -> Iterator[None]:
    """Tell the progress of all work in the block to `listener`, and print none of it."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def _time(seconds: int) -> str:
    """Format seconds: "4 s", "3:05 min", "2:03:10 h"."""
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"
