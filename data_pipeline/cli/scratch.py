"""Temporary folders that do not outlive their process.

A process holds a lock on each folder of its own (`flock` on the folder itself), which ends with it
however it ends. Folders of dead processes are removed by the next process that starts.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

_PREFIX = "sttn-scratch-"


@contextmanager
def scratch_folder(what: str) -> Iterator[Path]:
    """Make a new empty folder that is removed afterwards.

    Args:
        what: one word for its name.

    Raises:
        OSError: none can be made.
    """
    _sweep_once()
    with ExitStack() as stack:
        path, lock = _locked(what)
        stack.callback(os.close, lock)
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        yield path


def lasting_folder(what: str) -> Path:
    """Make a new empty folder that is removed when this process ends."""
    _sweep_once()
    path, _ = _locked(what)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def sweep() -> None:
    """Remove folders of processes that have ended or were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # of another user, held by a living process, or just removed
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
            finally:
                os.close(lock)


_sweep_once = cache(sweep)  # in each process: workers are on other nodes than their command


def _locked(what: str) -> tuple[Path, int]:
    """Make a new folder; return it and the descriptor that holds its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{what}-"))
        with suppress(FileNotFoundError):  # swept between the two
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks: nobody sweeps there
                fcntl.flock(lock, fcntl.LOCK_EX)
            if path.is_dir():
                return path, lock
            os.close(lock)
