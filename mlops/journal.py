"""Lines of a run on their way to MLflow: to a local file first, and from there by a thread.

What happens to MLflow never stops or slows the one who writes. Lines are sent in order; where they
stood is kept in a file, so that what was not sent before a crash is sent by the next process that
opens the same folder. A line that was sent but not yet ticked off is sent again: it carries the
time at which it was written, and MLflow keeps one of two equal points.

A folder belongs to one process at a time, by a lock that ends with it.
"""

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_pipeline.door import Refused

Line = dict[str, Any]
"""What JSON can hold."""

_LINES, _SENT = "lines.jsonl", "sent"
_MOST_LINES = 100  # sent together
_MOST_BYTES = 2**22  # of sent lines, before the file is begun anew
_LONGEST_PAUSE_S = 60.0


class Taken(Refused):
    """Another process has the folder."""


class Journal:
    """Close it.

    Args:
        folder: on a local disk, made when it is not there.
        send: brings lines to where they belong; whatever it raises, the same lines come again
            later.

    Raises:
        Taken: by another journal.
    """

    def __init__(self, folder: Path, send: Callable[[Sequence[Line]], None]) -> None:
        self.lost = 0
        """Lines that could not be written down."""
        self.trouble = ""
        """What the last attempt to write or send failed on; "" when it did not."""
        self.folder = folder
        self._send = send
        self._lock: int | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._patience = threading.Event()
        self._sent = 0  # bytes of the file
        self._size = 0  # likewise, of whole lines
        self._open()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def append(self, line: Line) -> None:
        """Write a line down and come back; never raises."""
        data = json.dumps(line, allow_nan=False).encode() + b"\n"
        with self._changed:
            try:
                with (self.folder / _LINES).open("ab") as file:
                    file.write(data)
            except OSError as error:
                self.lost += 1
                self.trouble = f"{type(error).__name__}: {error}"
                return
            self._size += len(data)
            self._changed.notify()

    def close(self, seconds: float) -> int:
        """Send what is left, for so long at most; returns how many lines stay for the next time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._patience.set()
        self._thread.join(seconds)
        left = len(self._read(self._sent))
        if self._thread.is_alive():
            return left
        if not left:
            with contextlib.suppress(OSError):
                for name in (_LINES, _SENT):
                    (self.folder / name).unlink(missing_ok=True)
        self._unlock()
        return left

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> None:
        """Find what an earlier process left; a line that it was killed in the middle of is cut."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lines = self.folder / _LINES
            data = lines.read_bytes() if lines.exists() else b""
            self._size = data.rfind(b"\n") + 1
            if self._size < len(data):
                lines.write_bytes(data[: self._size])
            sent = self.folder / _SENT
            self._sent = int(sent.read_text()) if sent.exists() else 0
            if self._sent > self._size:  # begun anew, and killed before that was ticked off
                self._sent = 0
        except BlockingIOError as error:
            self._unlock()
            raise Taken(f"{self.folder} belongs to another process") from error
        except (OSError, ValueError) as error:
            self.trouble = f"{type(error).__name__}: {error}"

    def _run(self) -> None:
        pause = 1.0
        while True:
            with self._changed:
                while self._sent >= self._size and not self._closing:
                    self._changed.wait()
                if self._sent >= self._size:
                    return
            try:
                self._send_some()
                pause = 1.0
            except Exception as error:  # MLflow raises what its store, its client or HTTP raise
                self.trouble = f"{type(error).__name__}: {error}".splitlines()[0]
                if self._closing:
                    return
                self._patience.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _send_some(self) -> None:
        chunk = self._read(self._sent)[:_MOST_LINES]
        self._send([json.loads(one) for one in chunk])
        self.trouble = ""
        with self._changed:
            self._sent += sum(map(len, chunk))
            if self._sent == self._size and self._size > _MOST_BYTES:
                (self.folder / _LINES).write_bytes(b"")
                self._sent = self._size = 0
            part = self.folder / f"{_SENT}.part"
            part.write_text(str(self._sent))
            part.replace(self.folder / _SENT)

    def _read(self, start: int) -> list[bytes]:
        try:
            with (self.folder / _LINES).open("rb") as file:
                file.seek(start)
                return file.read(self._size - start).splitlines(keepends=True)
        except OSError:  # then there is nothing to send
            return []


def now_ms() -> int:
    """Milliseconds since 1970, the time that a line carries."""
    return time.time_ns() // 10**6
