"""A lease: one holder at a time, on disk and on S3, with nothing but conditional create.

A lease is a folder of numbered entries, `000000000012.json`, that are never overwritten: whoever
wrote the highest number holds the lease. The holder renews it by creating the next number and then
checking that it is the highest; it deletes the older ones. The last entry of a holder says that it
released the lease, and stays as the high-water mark. So numbers only grow, and a holder that was
paused, or cut off, finds a higher number when it comes back.

A holder counts as dead when it ran on this very host and its process is gone; or when its number
does not change for the time of the lease on the watcher's own clock. Clocks of two machines are
never compared.
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from re import fullmatch

from data_pipeline.cli.canonical import canonical_json
from data_pipeline.cli.command import Refused, UserError
from data_pipeline.storage import lake

_RENEWALS = 3  # within the time of a lease
_LOOKS = 10  # polls of a watcher within the time of a lease


class Held(Refused):
    """Another process holds the lease."""


class LeaseLost(Refused):
    """The lease ended, or another process took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """Unique identity of a process."""

    boot: str
    """Id of this boot of the host; "" where the system has none."""
    namespace: str
    """PID namespace: containers of one host have their own."""
    pid: int
    """Process number in that namespace."""
    started: int
    """Clock ticks after the boot: process numbers are used again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """Contents of a file of the lease."""

    owner: str
    """Random id, new each time a process takes the lease."""
    released: bool
    """The owner released the lease."""
    host: str
    """Name of the owner's host."""
    since: float
    """Time at which the owner took the lease, seconds since 1970 on its clock; for messages."""
    process: _Process
    """Process of the owner."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease, as known to processes that work for its holder."""

    uri: str
    """Folder of the lease."""
    what: str
    """Description of what is guarded, for messages."""
    owner: str

    def check(self) -> None:
        """Check that the holder still has the lease, or had it last and is dead.

        Raises:
            LeaseLost: the holder released it, or another process took it.
        """
        _, highest = _highest(self.uri)
        if highest is None or highest.released:
            raise LeaseLost(f"{self.what} was released by the process that this one works for")
        if highest.owner != self.owner:
            raise LeaseLost(f"{self.what} was taken over by {_who(highest)}")


class Lease:
    """A lease that is held; a thread renews it."""

    token: int
    """Higher than the token of everybody who held the lease before."""

    def __init__(
        self, uri: str, what: str, seconds: float, entry: _Entry, number: int, renewed: float
    ) -> None:
        self.token = number
        self._uri, self._what, self._seconds, self._entry = uri, what, seconds, entry
        self._number, self._renewed = number, renewed
        self._lost = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {uri}", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Check that the lease is still held; call it right before what it guards.

        Raises:
            LeaseLost: it is not.
        """
        if os.getpid() != self._entry.process.pid:
            self._lost = "it belongs to the process that this one was forked from"
        self._refuse_if_lost()
        with lake.within(self._seconds):
            self._look()
        self._refuse_if_lost()

    def claim(self) -> Claim:
        """Make the claim for processes that work for this one."""
        return Claim(self._uri, self._what, self._entry.owner)

    def _look(self) -> None:
        """Mark the lease as lost where another process has a higher number."""
        _, highest = _highest(self._uri)
        if highest is None or highest.owner != self._entry.owner:
            by = f" by {_who(highest)}" if highest else ""
            self._lost = self._lost or f"it was taken over{by}"

    def _refuse_if_lost(self) -> None:
        if not self._lost and _now() > self._renewed + self._seconds:
            self._lost = f"it was not renewed for {self._seconds:g} s"
        if self._lost:
            raise LeaseLost(
                f"{self._what}: the lease is lost, {self._lost}: run the same command again"
            )

    def _keep(self) -> None:
        pause = self._seconds / _RENEWALS
        while not self._stop.wait(pause):
            try:
                self._renew()
                pause = self._seconds / _RENEWALS
            except LeaseLost:
                return
            except (Refused, UserError, OSError):
                # The store may be well again before the lease is over.
                pause = self._seconds / _RENEWALS / _LOOKS

    def _renew(self) -> None:
        self._refuse_if_lost()
        begun = _now()
        with lake.within(self._seconds / _RENEWALS):
            # Found there already, it is ours from a try before, or somebody else's: the look tells.
            with contextlib.suppress(FileExistsError):
                _create(self._uri, self._number + 1, self._entry)
            self._number += 1
            self._look()
            self._refuse_if_lost()
            self._renewed = begun
            # The one before stays, for those who have just listed it.
            _remove_below(self._uri, self._number - 1)

    def release(self) -> None:
        """Release the lease; without effect in a forked process, or when the lease is lost."""
        if os.getpid() != self._entry.process.pid:
            return
        self._stop.set()
        self._thread.join()
        # What cannot be written now ends by itself, when its time is over.
        with contextlib.suppress(Refused, UserError, OSError), lake.within(self._seconds):
            number, highest = _highest(self._uri)
            if highest is not None and highest.owner == self._entry.owner:
                _create(self._uri, number + 1, replace(self._entry, released=True))
                _remove_below(self._uri, number + 1)


@contextmanager
def lease(uri: str, *, what: str, seconds: float = 30.0) -> Iterator[Lease]:
    """Hold the lease in the folder `uri` for the time of the `with` block.

    A lease whose holder may run on another host is watched for `seconds` before it is taken over.

    Args:
        uri: folder of the lease, made when it is not there.
        what: description of what is guarded, for messages: "data set /x/y".
        seconds: time without a renewal after which a holder counts as dead; the same for all.

    Raises:
        Held: another process holds it.
    """
    held = _take(uri, what, seconds)
    try:
        yield held
    finally:
        held.release()


def _take(uri: str, what: str, seconds: float) -> Lease:
    owner, process = secrets.token_hex(16), _this_process()
    while True:
        number = _free_number(uri, what, seconds, process)
        begun = _now()
        entry = _Entry(
            owner=owner,
            released=False,
            host=socket.gethostname(),
            since=time.time(),
            process=process,
        )
        # Not there: the one before has finished just now, and removed the folder.
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            _create(uri, number + 1, entry)
        # Who was slow may have created a number that others had done with.
        highest, found = _highest(uri)
        if found is not None and found.owner == owner:
            return Lease(uri, what, seconds, entry, highest, begun)


def _free_number(uri: str, what: str, seconds: float, process: _Process) -> int:
    """Return the highest number, whose owner released it or is dead; 0 when there is none."""
    number, entry = _highest(uri)
    if entry is None or entry.released:
        return number
    if _same_host(entry.process, process):
        if _alive(entry.process):
            raise _held(what, entry)
        return number
    end = _now() + seconds
    while _now() < end:
        time.sleep(seconds / _LOOKS)
        later, entry = _highest(uri)
        if entry is None or entry.released:
            return later
        if later != number:
            raise _held(what, entry)
    return number


def _held(what: str, entry: _Entry) -> Held:
    return Held(
        f"{what} is held by {_who(entry)}: wait until it is done, or end it, and run the "
        "same command again"
    )


def _who(entry: _Entry) -> str:
    since = datetime.fromtimestamp(entry.since, UTC)
    return f"process {entry.process.pid} on {entry.host}, since {since:%F %T} UTC by its clock"


def _highest(uri: str) -> tuple[int, _Entry | None]:
    """Return the highest number and its entry; 0 and None when there is none."""
    while True:
        number = max(_numbers(uri), default=0)
        if not number:
            return 0, None
        # Deleted after it was listed: there is a higher one by now.
        with contextlib.suppress(FileNotFoundError):
            return number, _decode(uri, lake.read_bytes(_uri_of(uri, number)))


def _numbers(uri: str) -> list[int]:
    names = lake.list_files(uri)
    return [int(name[:12]) for name in names if fullmatch(r"\d{12}\.json", name)]


def _uri_of(uri: str, number: int) -> str:
    return lake.join(uri, f"{number:012d}.json")


def _create(uri: str, number: int, entry: _Entry) -> None:
    lake.create_bytes(_uri_of(uri, number), canonical_json(asdict(entry)) + b"\n")


def _remove_below(uri: str, number: int) -> None:
    for older in _numbers(uri):
        if older < number:
            lake.remove(_uri_of(uri, older))


def _decode(uri: str, data: bytes) -> _Entry:
    try:
        value = json.loads(data)
        return _Entry(**value | {"process": _Process(**value["process"])})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{uri} holds entries that are not of this version: delete the folder when "
            "no process works there any more"
        ) from error


def _now() -> float:
    """Return seconds of a monotonic clock that also counts while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _this_process() -> _Process:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
        started = _started(os.getpid())
    except OSError:
        boot, namespace, started = "", "", None
    return _Process(boot=boot, namespace=namespace, pid=os.getpid(), started=started or 0)


def _same_host(one: _Process, other: _Process) -> bool:
    return bool(one.boot) and (one.boot, one.namespace) == (other.boot, other.namespace)


def _alive(process: _Process) -> bool:
    return _started(process.pid) == process.started


def _started(pid: int) -> int | None:
    """Return the start of a process of this namespace, in clock ticks; None when it is dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name, in brackets, may hold anything; state and start time are fields 3 and 22.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
