"""Finds a group of workers that hangs, says where each stands, and ends this worker.

A rank that waits for one that is stuck (a stopped process, a lost message, a file system that does
not answer) raises nothing for a long time. Each worker has a thread that counts the seconds since
its last sign of life. When they are too many, it shows the stacks of its process, and those of
stopped workers on the same node, and ends the process; Ray Train then starts all workers again,
from the last checkpoint.
"""

import faulthandler
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NoReturn

_STOPPED = ("T", "t")  # states of a process in /proc
_PY_SPY_S = 20.0
_EXIT_CODE = 75  # "try again"


class Watch:
    """`with` it around what may hang, and `beat` in it.

    Args:
        seconds: without a beat, after which this process ends.
        rank: of this process.
        neighbours: rank -> process id of all workers on this node.
        tell: brings lines to where a person reads them.
    """

    def __init__(
        self,
        seconds: float,
        rank: int,
        neighbours: Mapping[int, int],
        tell: Callable[[str], None],
    ) -> None:
        self.clips = 0
        """Clips seen at the last beat."""
        self._seconds, self._rank = seconds, rank
        self._neighbours, self._tell = neighbours, tell
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
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

    def beat(self, clips: int) -> None:
        """Say that this process gets on; clips seen."""
        self.clips = clips
        self._last = time.monotonic()

    def _run(self) -> None:
        while not self._over.wait(min(1.0, self._seconds / 10)):
            silent = time.monotonic() - self._last
            if silent > self._seconds:
                self._end(silent)

    def _end(self, silent: float) -> NoReturn:
        try:
            self._tell(
                f"rank {self._rank} (process {os.getpid()}) has got no further than clip "
                f"{self.clips} for {silent:.0f} s, and is ended; its stacks:\n{_own_stacks()}"
            )
            for rank, process in self._neighbours.items():
                if _state(process) in _STOPPED:
                    self._tell(
                        f"rank {rank} (process {process}) is stopped; its stacks:\n"
                        f"{_stacks(process)}"
                    )
        finally:
            os._exit(_EXIT_CODE)  # the thread that hangs cannot be interrupted


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
    """Of another process, which cannot tell itself."""
    command = [str(Path(sys.executable).with_name("py-spy")), "dump", "--nonblocking", "--pid"]
    try:
        done = subprocess.run(
            [*command, str(process)], capture_output=True, text=True, timeout=_PY_SPY_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"not to be had ({type(error).__name__}: {error})"
    return done.stdout or f"not to be had ({done.stderr.strip().splitlines()[:1]})"
