"""Handles Ctrl-C, SIGTERM and a closed terminal alike: each unwinds the command."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ONE_REQUEST_S = 1.0  # a shell and the kernel both send the SIGHUP of a terminal that is closed


@final
class Ending:
    """Raises `KeyboardInterrupt` for each request, and knows which signal was the first."""

    def __init__(self) -> None:
        self.first: int | None = None
        """Number of the signal."""
        self._last = 0.0

    @property
    def exit_code(self) -> int:
        """Exit code of a shell for a process that a signal ended."""
        return 128 + (self.first or signal.SIGINT)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        if self.first is not None and now - self._last < _ONE_REQUEST_S:
            return
        self.first, self._last = self.first or number, now
        raise KeyboardInterrupt


@contextmanager
def ending() -> Iterator[Ending]:
    """Handle the signals `ENDING` as requests to end; those that are ignored (nohup) stay so."""
    handler = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield handler  # Python lets only the main thread decide
        return
    with kept():
        for number in ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)
        yield handler


@contextmanager
def kept() -> Iterator[None]:
    """Restore the handlers of `ENDING` afterwards, whatever a library sets in the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set outside of Python: it cannot be restored
                signal.signal(number, handler)
