"""A watchdog: finds stalled workers, dumps their stacks and ends them.

A rank that waits for a stalled one (a stopped process, a lost message, a file system that does not
answer) raises nothing for a long time. Each worker has a thread that counts the seconds since its
last heartbeat. After the timeout it prints a stack dump of its process, and of stopped workers on
the same node, and ends the process; Ray Train then restarts all workers from the last checkpoint.
"""

import faulthandler
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from data_pipeline.cli.background import in_background

_STOPPED = ("T", "t")  # states of a process in /proc
_PY_SPY_S = 20.0
_EXIT_CODE = 75  # "try again"


@contextmanager
def watchdog(
    seconds: float, rank: int, neighbours: Mapping[int, int], report: Callable[[str], None]
) -> Iterator["Watchdog"]:
    """Guard work that may stall, which calls `beat`; arguments as of `Watchdog`."""
    guard = Watchdog(seconds, rank, neighbours, report)
    with in_background("watchdog", guard.run):
        yield guard


class Watchdog:
    """Ends this process when no heartbeat comes.

    Args:
        seconds: timeout without a heartbeat, after which this process ends.
        rank: of this process.
        neighbours: rank -> process id of all workers on this node.
        report: shows lines to a person.
    """

    def __init__(
        self,
        seconds: float,
        rank: int,
        neighbours: Mapping[int, int],
        report: Callable[[str], None],
    ) -> None:
        self.clips = 0
        """Clips seen at the last heartbeat."""
        self._seconds, self._rank = seconds, rank
        self._neighbours, self._report = neighbours, report
        self._last = time.monotonic()

    def beat(self, clips: int) -> None:
        """Give a heartbeat, with the clips seen."""
        self.clips = clips
        self._last = time.monotonic()

    def run(self, over: threading.Event) -> None:
        """Look for heartbeats until `over` is set."""
        while not over.wait(min(1.0, self._seconds / 10)):
            silent = time.monotonic() - self._last
            if silent > self._seconds:
                self._end(silent)

    def _end(self, silent: float) -> NoReturn:
        try:
            self._report(
                f"rank {self._rank} (process {os.getpid()}) has stalled at clip "
                f"{self.clips} for {silent:.0f} s and is restarted; its stacks:\n{_own_stacks()}"
            )
            for rank, process in self._neighbours.items():
                if _state(process) in _STOPPED:
                    self._report(
                        f"rank {rank} (process {process}) is stopped; its stacks:\n"
                        f"{_stacks(process)}"
                    )
        finally:
            os._exit(_EXIT_CODE)  # a stalled thread cannot be interrupted


def _own_stacks() -> str:
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read()


def _state(process: int) -> str:
    """One letter, as in `ps`; "" when there is no such process, or no /proc."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return ""


def _stacks(process: int) -> str:
    """Stack dump of another process, by py-spy."""
    command = [str(Path(sys.executable).with_name("py-spy")), "dump", "--nonblocking", "--pid"]
    try:
        done = subprocess.run(
            [*command, str(process)], capture_output=True, text=True, timeout=_PY_SPY_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"not available ({type(error).__name__}: {error})"
    return done.stdout or f"not available ({done.stderr.strip().splitlines()[:1]})"
