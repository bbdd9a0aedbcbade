"""Files on disk, where only whole files appear.

A file is written beside its place, flushed, and then linked or renamed; what keeps it from being
read or written is said in words.
"""

import contextlib
import errno
import functools
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from data_pipeline.door import UserError
from data_pipeline.store import DiskFull, Entry, TransientError, check_size, size_of

PART = ".part"  # ends the name of a file that is being written: not a file yet
_HALF = re.compile(r"(.*/)?\..+\.[0-9a-f]{8}\.part")

_OPEN_FILES = 128
_CHUNK = 2**20  # bytes in memory while a file is copied

_DENIED = {
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SICK = {errno.EIO, errno.ESTALE}
_LEADS_NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES}
_STAYS = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EBUSY}


def exists(path: str) -> bool:
    """Say whether there is a file or a directory."""
    with reading(path):
        return Path(path).exists()


def read_bytes(path: str) -> bytes:
    """Read a whole file."""
    with reading(path):
        return Path(path).read_bytes()


def read_range(path: str, start: int, size: int) -> bytes:
    """Read `size` bytes from byte `start`; fewer where the file ends."""
    with reading(path):
        status = Path(path).stat()
        return _descriptor(path, status.st_ino, status.st_mtime_ns).read(start, size)


def entries(root: str) -> Iterator[Entry]:
    """Files below `root`, in no order; a link counts when it leads to a file."""
    below = [""]
    while below:
        folder = below.pop()
        # A folder may be gone by now, and what was asked for may be none.
        gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with reading(root), gone, os.scandir(f"{root}/{folder}") as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    below.append(f"{folder}{item.name}/")
                elif status := _file_status(item):
                    yield Entry(f"{folder}{item.name}", status.st_size, status.st_mtime)


def halves(root: str) -> list[Entry]:
    """Files below `root` that somebody writes, or began to write and was killed."""
    return sorted((e for e in entries(root) if _HALF.fullmatch(e.name)), key=lambda e: e.name)


def create_bytes(path: str, data: bytes) -> None:
    """Write a new file; FileExistsError, and nothing changed, when there is one already."""
    with _part_of(Path(path)) as part:
        with part.open("wb") as file:
            file.write(data)
            _flush(file)
        try:
            os.link(part, path)  # unlike a rename, refuses to replace
        except FileExistsError:
            # A network file system may link, lose the answer and ask again.
            if part.stat().st_nlink == 1:
                raise
        except FileNotFoundError as error:
            # Somebody finished here and tidied up.
            if Path(path).exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error
            raise
        _flush_folder(path)


def put(source: BinaryIO, path: str) -> None:
    """Make a file of an open one, in place of the one there may be."""
    with replacing(Path(path)) as file:
        _copy(source, file, path)
        _flush(file)
    with writing(path):
        _flush_folder(path)


def get(path: str, target: BinaryIO) -> None:
    """Copy a file into an open one."""
    with reading(path), Path(path).open("rb") as source:
        _copy(source, target, path)


def remove(path: str) -> None:
    """Delete one file; no error when there is none."""
    with writing(path):
        Path(path).unlink(missing_ok=True)


def remove_empty_folders(path: str, names: Sequence[str]) -> None:
    """Delete the folders above files below `path` that are empty, and `path` when it is."""
    root = Path(path)
    above = {root / parent for name in names for parent in Path(name).parents} | {root}
    for folder in sorted(above, reverse=True):
        with writing(folder):
            _remove_if_empty(folder)


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `target` when all went well."""
    with _part_of(target) as part:
        with part.open("wb") as file:
            yield file
        part.replace(target)


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Name what keeps a file from being read."""
    try:
        yield
    except PermissionError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): give a place you may read"
        ) from error
    except OSError as error:
        if error.errno in _SICK:
            raise _sick(path, error) from error
        raise


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Name what keeps a place from being written."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"{path}: the disk is full ({error.strerror}): free some space and run the same "
                "command again"
            ) from error
        if error.errno in _DENIED:
            raise UserError(
                f"{path} cannot be written ({error.strerror}): give a place you may write to"
            ) from error
        if error.errno in _SICK:
            raise _sick(path, error) from error
        raise


def _sick(path: str | Path, error: OSError) -> TransientError:
    return TransientError(f"{path}: the disk does not answer properly: {error}")


class _Descriptor:
    """An open file for positioned reads; closed when nobody holds it any more."""

    def __init__(self, path: str) -> None:
        self._number = os.open(path, os.O_RDONLY)

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self._number, size, start)

    def __del__(self) -> None:
        os.close(self._number)


@functools.lru_cache(maxsize=_OPEN_FILES)
def _descriptor(path: str, _inode: int, _mtime_ns: int) -> _Descriptor:
    """Open a file once; a file that was replaced since counts as another one."""
    return _Descriptor(path)


def _file_status(item: os.DirEntry[str]) -> os.stat_result | None:
    """None for what is no file, or is gone since."""
    try:
        status = item.stat()
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


@contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """A name beside `target` to write to first; gone at the end whatever happens."""
    with writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        # A file is where a directory has to be, or nobody can make one there (in /proc, say).
        except (FileExistsError, FileNotFoundError) as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO, path: str) -> None:
    shutil.copyfileobj(source, target, _CHUNK)
    check_size(path, target.tell(), size_of(source))


def _flush(file: BinaryIO) -> None:
    """Wait until the bytes of a file are on the disk: a manifest must not outrun its shards."""
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(path: str) -> None:
    """Wait until the name of a file is on the disk."""
    number = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot flush a directory
            raise
    finally:
        os.close(number)


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in _STAYS:
            raise
