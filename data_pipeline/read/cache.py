"""Caches files of data sets on the disk of this node, by their hash.

All processes of the node, and one run after another, share the folder:

    <folder>/<sha256>            a file, whole and verified; its mtime is when it was last used
    <folder>/fetching/<sha256>   locked by the process that fetches the file; of the same size
    <folder>/lock                locked by the process that makes room

A lock ends with the process that holds it, so `kill -9` needs no repair: files in `fetching`
without a lock are deleted. Readers hold a file open while they read, so that one which
is removed meanwhile does not disturb them.
"""

import contextlib
import fcntl
import hashlib
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple, final

from data_pipeline.cli.command import Refused, UserError
from data_pipeline.storage import lake
from data_pipeline.storage.lake import DiskFull
from data_pipeline.storage.store import FULL

_WAIT_S = 0.1  # between looks for room that other downloads hold
_FULL_S = 600.0  # before a full disk is tried again


class CorruptData(Refused):
    """Data differ from what was written."""


class _Copy(NamedTuple):
    used_ns: int
    size: int
    path: Path


@final
class NodeCache:
    """Cache of at most `limit_bytes` in `folder`; the least recently used files go first.

    A download in progress counts in full. Safe in threads and in processes, also forked ones.

    Args:
        folder: on a disk of this node; made when it is needed.
        limit_bytes: maximum size of all copies together.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self._fetching = folder / "fetching"
        self._full_until = -math.inf  # time.monotonic()

    def path(self, uri: str, sha256: str, size: int) -> Path:
        """Return the local copy of a file, fetched where there is none; others wait.

        Args:
            uri: where to fetch it.
            sha256: hash of its bytes, hex digits.
            size: its size in bytes.

        Raises:
            UserError: it is larger than the cache may be, or the folder cannot be written to.
            DiskFull: there is no room for it; a warning is printed once.
            CorruptData: there is no such file at `uri`, or another one; it is not kept.
        """
        target = self.folder / sha256
        try:
            if not _use(target, size):
                self._get(uri, target, size)
        except OSError as error:
            if error.errno in FULL:
                raise self._full(uri) from error
            raise UserError(
                f"the cache {self.folder} cannot be written ({error.strerror}): set STTN_CACHE to "
                "a folder that can, or STTN_CACHE_GB=0 to read without a cache"
            ) from error
        except DiskFull as error:
            raise self._full(uri) from error
        return target

    def open(self, uri: str, sha256: str, size: int) -> BufferedIOBase:
        """Open the local copy of a file, as `path`; it stays readable when it is evicted."""
        while True:
            path = self.path(uri, sha256, size)
            # Another process may make room between these two lines.
            with contextlib.suppress(FileNotFoundError):
                return path.open("rb")

    def drop(self, sha256: str) -> None:
        """Delete a copy that turned out to be damaged."""
        (self.folder / sha256).unlink(missing_ok=True)

    def must_hold(self, uri: str, size: int) -> None:
        """Refuse a file that is larger than the whole cache.

        Raises:
            UserError: it is.
        """
        if size > self.limit_bytes:
            raise UserError(
                f"{uri} has {size} bytes, but the cache {self.folder} may hold {self.limit_bytes}: "
                "set STTN_CACHE_GB higher or STTN_CACHE to a larger disk, or STTN_CACHE_GB=0 to "
                "read without a cache"
            )

    @property
    def kept_bytes(self) -> int:
        """Size of all copies."""
        return sum(copy.size for copy in self._copies())

    def _get(self, uri: str, target: Path, size: int) -> None:
        """Fetch a file, unless another process does it first."""
        self.must_hold(uri, size)
        if time.monotonic() < self._full_until:
            raise DiskFull(f"{self.folder}: the disk is full")
        self._fetching.mkdir(parents=True, exist_ok=True)
        with _locked(self._fetching / target.name) as ticket:
            try:
                if not _use(target, size):
                    self._fetch(uri, target, size, ticket)
            finally:
                self._sweep(target.name)

    def _fetch(self, uri: str, target: Path, size: int, ticket: int) -> None:
        part = self._fetching / f"{target.name}.data"
        self._reserve(size, ticket)
        try:
            try:
                lake.download(uri, part)
            except DiskFull:
                with self._alone():
                    self._evict(max(0, self.kept_bytes - size))
                lake.download(uri, part)
        except FileNotFoundError as error:
            raise CorruptData(f"{uri} is missing, but the manifest names it: restore it") from error
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != target.name:
            raise CorruptData(
                f"{uri} has the sha256 {found}, the manifest says {target.name}: run `verify` and "
                "restore the file"
            )
        part.replace(target)

    def _reserve(self, size: int, ticket: int) -> None:
        """Reserve room; wait while other downloads hold all of it."""
        while True:
            with self._alone():
                if self._evict(self.limit_bytes - self._reserved_bytes() - size):
                    os.ftruncate(ticket, size)
                    return
            time.sleep(_WAIT_S)

    def _evict(self, max_bytes: int) -> bool:
        """Remove the least recently used copies until `max_bytes` are left; False below 0."""
        copies = sorted(self._copies())
        left = sum(copy.size for copy in copies)
        for copy in copies:
            if left <= max_bytes or max_bytes < 0:
                break
            copy.path.unlink(missing_ok=True)
            left -= copy.size
        return max_bytes >= 0

    def _copies(self) -> Iterator[_Copy]:
        for path in _named_by_hash(self.folder):
            with contextlib.suppress(FileNotFoundError):  # dropped since
                status = path.stat()
                yield _Copy(status.st_mtime_ns, status.st_size, path)

    def _reserved_bytes(self) -> int:
        """Count the bytes that are being fetched; delete what killed processes left."""
        total = 0
        for path in _named_by_hash(self._fetching):
            try:
                with _locked(path, wait=False):
                    self._sweep(path.name)
            except BlockingIOError:
                with contextlib.suppress(FileNotFoundError):  # done since
                    total += path.stat().st_size
        return total

    def _sweep(self, sha256: str) -> None:
        """Remove the files of a download, the locked one last; the caller holds its lock."""
        for part in self._fetching.glob(f"*{sha256}.*"):
            part.unlink(missing_ok=True)
        (self._fetching / sha256).unlink(missing_ok=True)

    def _alone(self) -> contextlib.AbstractContextManager[int]:
        return _locked(self.folder / "lock")

    def _full(self, uri: str) -> DiskFull:
        words = f"{self.folder}: the disk is full, so {uri} is read from its store piece by piece"
        if self._full_until < 0:
            sys.stderr.write(f"warning: {words}; free some space to read faster\n")
            sys.stderr.flush()
        if time.monotonic() >= self._full_until:
            self._full_until = time.monotonic() + _FULL_S
        return DiskFull(words)


def node_cache() -> NodeCache | None:
    """Return the cache of this node, or None when it is turned off.

    Its folder is STTN_CACHE, by default ~/.cache/sttn. It holds STTN_CACHE_GB (10^9 bytes; 0 turns
    it off), by default half of what its disk has free, its own copies counted as free.

    Raises:
        UserError: STTN_CACHE_GB is no number of gigabytes.
    """
    folder = Path(os.environ.get("STTN_CACHE") or "~/.cache/sttn").expanduser().absolute()
    cache = NodeCache(folder, 0)
    gigabytes = _gigabytes(os.environ.get("STTN_CACHE_GB", ""))
    if gigabytes is None:
        disk = next(path for path in (folder, *folder.parents) if path.exists())
        cache.limit_bytes = (shutil.disk_usage(disk).free + cache.kept_bytes) // 2
    else:
        cache.limit_bytes = int(gigabytes * 1e9)
    return cache if gigabytes != 0 else None


def _gigabytes(text: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not 0 <= value < math.inf:
        raise UserError(f"STTN_CACHE_GB is {text!r}: give a number of gigabytes, 0 for no cache")
    return value


def _use(path: Path, size: int) -> bool:
    """Say whether a whole copy is there, and mark it as used."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == size:
            # Where that is refused (another user, some file systems) it is only evicted sooner.
            with contextlib.suppress(OSError):
                os.utime(path)
            return True
    return False


def _named_by_hash(folder: Path) -> list[Path]:
    if not folder.exists():
        return []
    return [path for path in folder.iterdir() if len(path.name) == 64 and path.name.isalnum()]


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[int]:
    """Hold the lock of the file at `path`; BlockingIOError when it is taken and `wait` is False.

    Yields:
        Its descriptor. A lock belongs to the open file, so threads exclude each other too.
    """
    while True:
        number = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The last holder may have removed the file: then this lock guards nothing.
            if os.fstat(number).st_nlink:
                yield number
                return
        finally:
            # Not left to `close`: a forked child may have the file open too.
            fcntl.flock(number, fcntl.LOCK_UN)
            os.close(number)
