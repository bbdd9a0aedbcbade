"""Buffered metrics of a run on their way to MLflow: first into a local file, then sent by a thread.

Nothing that happens to MLflow stops or slows the writer. Lines are sent in order, and deleted when
they were; lines left by a crash are sent by the next process that opens the folder. A line that was
sent but not deleted is sent again: it carries the time at which it was written, and MLflow keeps
one of two equal points.

The file is an SQLite database, which rolls a half-written line back after a kill or on a full disk,
and gives itself to one process at a time. It is in WAL mode, which still works when a clean-up of
the temporary folder deletes the file, and never waits for the disk (`synchronous=off`).
"""

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data_pipeline.cli.command import Refused

Line = dict[str, Any]
"""Any JSON object."""

_FILE = "lines.sqlite"
_MAX_LINES = 100  # sent together
_LONGEST_PAUSE_S = 60.0
_OLD_LINES, _OLD_SENT = "lines.jsonl", "sent"  # of the release before; read until the next one


class Taken(Refused):
    """Another process has the folder."""


class Unsendable(Exception):  # noqa: N818 (it is the line, not the sender)
    """Raised by a sender: these lines, or one of them, will never be taken."""


class Journal:
    """Close it.

    Args:
        folder: on a local disk, made when it is not there.
        send: sends lines; after any error but `Unsendable` the same lines come again later.

    Raises:
        Taken: by another journal.
    """

    def __init__(self, folder: Path, send: Callable[[Sequence[Line]], None]) -> None:
        self.lost = 0
        """Lines that could not be written down, or will never be taken."""
        self.trouble = ""
        """Error of the last attempt to write or send; "" when it went well."""
        self.folder = folder
        self._send = send
        self._changed = threading.Condition()  # held for each use of the database
        self._closing = False
        self._woken = threading.Event()
        self._sent = 0  # id of the last line that was sent
        self._singly = 0  # lines to be sent one by one, for one of them will never be taken
        self._database = self._opened()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def append(self, line: Line) -> None:
        """Write a line down and come back; never raises.

        Numbers may be nan or infinite. What JSON cannot hold, or the disk, is counted as lost.
        """
        with self._changed:
            try:
                text = json.dumps(line, default=float)
                if self._database is None:
                    raise OSError(self.trouble)
                self._database.execute("INSERT INTO lines (line) VALUES (?)", (text,))
            except Exception as error:  # whatever the line holds, or the disk says
                self._lose(error)
                return
            self._changed.notify()

    def close(self, seconds: float) -> int:
        """Send the rest, within `seconds`; returns how many lines stay for the next time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._woken.set()
        self._thread.join(seconds)
        with self._changed:
            left = len(self._unsent(-1))
            if self._thread.is_alive() or self._database is None:
                return left
            self._database.close()
            self._database = None
        if not left:
            with contextlib.suppress(OSError):
                (self.folder / _FILE).unlink(missing_ok=True)
        return left

    def _opened(self) -> sqlite3.Connection | None:
        """Open the database with the lines that an earlier process left; None where that fails."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                database = _connected(self.folder / _FILE)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # damaged, by the end of its machine say
                (self.folder / _FILE).replace(self.folder / f"{_FILE}.damaged")
                database = _connected(self.folder / _FILE)
            _take_over(self.folder, database)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise Taken(f"{self.folder} belongs to another process") from error
            self.trouble = _line(error)
            return None
        except (OSError, sqlite3.Error) as error:
            self.trouble = _line(error)
            return None
        return database

    def _lose(self, error: Exception) -> None:
        self.lost += 1
        self.trouble = _line(error)

    def _run(self) -> None:
        pause = 1.0
        while True:
            try:
                with self._changed:
                    while not (chunk := self._unsent(_MAX_LINES)) and not self._closing:
                        self._changed.wait()
                if not chunk:
                    return
                self._send_some(chunk[: 1 if self._singly else _MAX_LINES])
                pause = 1.0
            except Exception as error:  # MLflow raises what its store, its client or HTTP raise
                self.trouble = _line(error)
                if self._closing:
                    return
                self._woken.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _unsent(self, limit: int) -> list[tuple[int, str]]:
        """(id, text) of the next lines; all of them for a limit of -1."""
        if self._database is None:  # then there is nothing to send
            return []
        query = "SELECT id, line FROM lines WHERE id > ? ORDER BY id LIMIT ?"
        return self._database.execute(query, (self._sent, limit)).fetchall()

    def _send_some(self, chunk: Sequence[tuple[int, str]]) -> None:
        try:
            self._send(_parsed(chunk))
            self.trouble = ""
        except Unsendable as error:
            if len(chunk) > 1:
                self._singly = len(chunk)
                return
            self._lose(error)
        self._singly = max(0, self._singly - len(chunk))
        with self._changed:
            self._sent = chunk[-1][0]
            try:
                if self._database is not None:
                    self._database.execute("DELETE FROM lines WHERE id <= ?", (self._sent,))
            except sqlite3.Error as error:  # then a next process sends them again
                self.trouble = _line(error)


def _connected(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        for statement in (
            "PRAGMA locking_mode=exclusive",
            "PRAGMA journal_mode=wal",
            "PRAGMA synchronous=off",
            "PRAGMA wal_autocheckpoint=100",  # pages: the WAL stays below 1 MB
            # AUTOINCREMENT: the id of a deleted line never comes again.
            "CREATE TABLE IF NOT EXISTS lines (id INTEGER PRIMARY KEY AUTOINCREMENT, line TEXT)",
            "SELECT count(*) FROM lines",
        ):
            database.execute(statement).fetchall()
    except sqlite3.Error:
        database.close()
        raise
    return database


def _take_over(folder: Path, database: sqlite3.Connection) -> None:
    """Move the lines of the release before into the database: whole lines behind those sent."""
    lines, sent = folder / _OLD_LINES, folder / _OLD_SENT
    if not lines.exists():
        return
    data = lines.read_bytes()
    start = int(sent.read_text() or 0) if sent.exists() else 0
    whole = data[start if start <= len(data) else 0 : data.rfind(b"\n") + 1]
    rows = [(one.decode(errors="replace"),) for one in whole.splitlines()]
    database.execute("BEGIN")
    database.executemany("INSERT INTO lines (line) VALUES (?)", rows)
    database.execute("COMMIT")
    for file in (lines, sent):
        file.unlink(missing_ok=True)


def _parsed(chunk: Sequence[tuple[int, str]]) -> list[Line]:
    try:
        return [json.loads(text) for _, text in chunk]
    except ValueError as error:  # two that an earlier version wrote into one when the disk was full
        raise Unsendable(f"not a line ({error})") from error


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def now_ms() -> int:
    """Milliseconds since 1970, the time that a line carries."""
    return time.time_ns() // 10**6
