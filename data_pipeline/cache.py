"""Files of data sets on the disk of this node, kept by what they hold.

All processes of the node, and one run after another, share the folder:

    <folder>/<sha256>            a file, whole and found right; its mtime is when it was last used
    <folder>/fetching/<sha256>   locked by who fetches that file, and as long as it will be
    <folder>/lock                locked by who makes room

A lock ends with the process that holds it, so `kill -9` leaves nothing to mend: what lies in
`fetching` without a lock is swept away. Readers hold a file open while they read, so that one which
is removed meanwhile does not disturb them.
"""

import contextlib
import errno
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

from data_pipeline import lake
from data_pipeline.door import Refused, UserError
from data_pipeline.lake import DiskFull

_WAIT_S = 0.1  # between looks for room that other downloads hold
_FULL_S = 600.0  # before a full disk is tried again
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class CorruptData(Refused):
    """Bytes are not what was written."""


class _Copy(NamedTuple):
    used_ns: int
    size: int
    path: Path


@final
class NodeCache:
    """Copies of at most `limit_bytes` in `folder`; the longest unused go first.

    A download under way counts in full. Safe in threads and in processes, also forked ones.

    Args:
        folder: on a disk of this node; made when it is needed.
        limit_bytes: of all copies together.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self._fetching = folder / "fetching"
        self._full_until = -math.inf  # time.monotonic()

    def path(self, uri: str, sha256: str, size: int) -> Path:
        """The local copy of a file, fetched where there is none; others wait meanwhile.

        Args:
            uri: where to fetch it.
            sha256: of its bytes, hex digits.
            size: bytes.

        Raises:
            UserError: it is larger than the cache may be, or the folder cannot be written to.
            DiskFull: there is no room for it; said once on stderr.
            CorruptData: there is no such file at `uri`, or another one; it is not kept.
        """
        target = self.folder / sha256
        try:
            if not _use(target, size):
                self._get(uri, target, size)
        except OSError as error:
            if error.errno in _FULL:
                raise self._full(uri) from error
            raise UserError(
                f"the cache {self.folder} cannot be written ({error.strerror}): set STTN_CACHE to "
                "a folder that can, or STTN_CACHE_GB=0 to read without a cache"
            ) from error
        except DiskFull as error:
            raise self._full(uri) from error
        return target

    def open(self, uri: str, sha256: str, size: int) -> BufferedIOBase:
        """The same as `path`, as an open file, which nobody can take away any more."""
        while True:
            path = self.path(uri, sha256, size)
            # Another process may make room between these two lines.
            with contextlib.suppress(FileNotFoundError):
                return path.open("rb")

    def drop(self, sha256: str) -> None:
        """Forget a copy, because it turned out to be damaged."""
        (self.folder / sha256).unlink(missing_ok=True)

    def must_hold(self, uri: str, size: int) -> None:
        """Refuse a file that is larger than the cache may be.

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
        """Bytes of all copies."""
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
        """Make room and take it; waits where other downloads hold all there may be."""
        while True:
            with self._alone():
                if self._evict(self.limit_bytes - self._reserved_bytes() - size):
                    os.ftruncate(ticket, size)
                    return
            time.sleep(_WAIT_S)

    def _evict(self, most_bytes: int) -> bool:
        """Remove the longest unused copies until `most_bytes` are left; False below 0."""
        copies = sorted(self._copies())
        left = sum(copy.size for copy in copies)
        for copy in copies:
            if left <= most_bytes or most_bytes < 0:
                break
            copy.path.unlink(missing_ok=True)
            left -= copy.size
        return most_bytes >= 0

    def _copies(self) -> Iterator[_Copy]:
        for path in _named_by_hash(self.folder):
            with contextlib.suppress(FileNotFoundError):  # dropped since
                status = path.stat()
                yield _Copy(status.st_mtime_ns, status.st_size, path)

    def _reserved_bytes(self) -> int:
        """Bytes that are being fetched just now; sweeps away what the dead have left."""
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
        """Remove what a download has left, what is locked last; for who holds that lock."""
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
    """The cache of this node, or None when it is turned off.

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
    """Say whether a whole copy is there, and note that it is used."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == size:
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
            # Who held it until now may have removed the file: then it locks nothing any more.
            if os.fstat(number).st_nlink:
                yield number
                return
        finally:
            # Not left to `close`: a forked child may have the file open too.
            fcntl.flock(number, fcntl.LOCK_UN)
            os.close(number)
