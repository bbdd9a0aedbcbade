"""Files on disk, which appear whole or not at all.

A file is written beside its place, flushed, and then linked or renamed. Errors of the file system
become messages with the cure. The room's README.md lists what a file
system must support.
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

from data_pipeline.cli.command import UserError
from data_pipeline.storage.exclusive import CANNOT, PART, followed, give_name, is_there, leads_to
from data_pipeline.storage.store import FULL, DiskFull, Entry, TransientError, check_size, size_of

_PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part")

_MAX_STEM = 239  # bytes: with what `part_beside` adds the 255 that a name may have
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
_UNHEALTHY = {
    errno.EAGAIN,
    errno.EBUSY,
    errno.EHOSTDOWN,
    errno.EIO,
    errno.ENOTCONN,  # a FUSE file system whose process is gone
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ETXTBSY,
}
# What file systems say where a directory cannot be flushed, or not even opened for it.
_NO_FLUSH = CANNOT | {errno.EACCES, errno.EBADF, errno.EISDIR, errno.EPERM}
_BROKEN_LINK = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES}
_NOT_REMOVED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR, errno.EBUSY}


def exists(path: str) -> bool:
    """Say whether there is a file or a directory."""
    with reading(path):
        return is_there(Path(path))


def read_bytes(path: str) -> bytes:
    """Read a whole file."""
    with reading(path):
        return followed(Path(path), Path(path).read_bytes)


def read_range(path: str, start: int, size: int) -> bytes:
    """Read `size` bytes from byte `start`; fewer where the file ends."""
    with reading(path):
        status = followed(Path(path), Path(path).stat)
        return _descriptor(path, status.st_ino, status.st_mtime_ns).read(start, size)


def entry(path: str) -> Entry:
    """Describe one file; FileNotFoundError when there is none."""
    with reading(path):
        status = followed(Path(path), Path(path).stat)
    if not stat.S_ISREG(status.st_mode):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return Entry(Path(path).name, status.st_size, status.st_mtime)


def entries(root: str) -> Iterator[Entry]:
    """List files below `root`, in no order; a link counts when it leads to a file."""
    below = [""]
    while below:
        folder = below.pop()
        # A folder may be gone by now, and `root` may be none.
        gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with reading(root), gone, os.scandir(f"{root}/{folder}") as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    below.append(f"{folder}{item.name}/")
                elif status := _file_status(item):
                    yield Entry(f"{folder}{item.name}", status.st_size, status.st_mtime)


def partial_files(root: str) -> list[Entry]:
    """List files below `root` that are being written, or whose writer was killed."""
    found = [entry for entry in entries(root) if _is_partial(Path(root, entry.name))]
    return sorted(found, key=lambda entry: entry.name)


def create_bytes(path: str, data: bytes) -> None:
    """Write a new file; FileExistsError, and nothing changed, when there is one already."""
    with _part_of(Path(path)) as part:
        with part.open("wb") as file:
            file.write(data)
            _flush(file)
        try:
            give_name(part, Path(path))
        except FileNotFoundError as error:
            # Somebody finished here and tidied up.
            if Path(path).exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from error
            raise
        _flush_folder(path)


def put(source: BinaryIO, path: str) -> None:
    """Write a file from an open one, replacing any that is there."""
    with replacing(Path(path)) as file:
        _copy(source, file, path)
        _flush(file)
    with writing(path):
        _flush_folder(path)


def get(path: str, target: BinaryIO) -> None:
    """Copy a file into an open one."""
    with reading(path), followed(Path(path), lambda: Path(path).open("rb")) as source:
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


def part_beside(target: Path) -> Path:
    """Make a new name beside `target` for the file while it is written."""
    return hidden_beside(target, f"{secrets.token_hex(4)}{PART}")


def hidden_beside(target: Path, ending: str) -> Path:
    """Return a hidden name beside `target`, with an ending of at most 14 characters."""
    name = target.name
    stem = name if len(os.fsencode(name)) <= _MAX_STEM else name[: _MAX_STEM // 4]
    return target.with_name(f".{stem}.{ending}")


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """Open a file to write that replaces `target` at the end, unless there is an error."""
    with _part_of(target) as part:
        with part.open("wb") as file:
            yield file
        part.replace(target)


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Translate errors of reading a file into messages with the cure."""
    try:
        yield
    except PermissionError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): give a place you may read"
        ) from error
    except OSError as error:
        if error.errno in _UNHEALTHY:
            raise _unhealthy(path, error) from error
        raise


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Translate errors of writing a file into messages with the cure."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                f"{path}: the disk is full ({error.strerror}): free some space and run the same "
                "command again"
            ) from error
        if error.errno in _DENIED:
            raise UserError(
                f"{path} cannot be written ({error.strerror}): give a place you may write to"
            ) from error
        if error.errno in _UNHEALTHY:
            raise _unhealthy(path, error) from error
        if error.errno in CANNOT:
            raise UserError(
                f"{path}: the file system there cannot do what is needed ({error.strerror}): give "
                "another place, or s3://bucket/key; data_pipeline/README.md says what storage must "
                "be able to do"
            ) from error
        raise


def _unhealthy(path: str | Path, error: OSError) -> TransientError:
    return TransientError(f"{path}: the disk does not answer properly: {error}")


class _Descriptor:
    """An open file for positioned reads; closed with its last reference."""

    def __init__(self, path: str) -> None:
        self._number = os.open(path, os.O_RDONLY)

    def read(self, start: int, size: int) -> bytes:
        return os.pread(self._number, size, start)

    def __del__(self) -> None:
        os.close(self._number)


@functools.lru_cache(maxsize=_OPEN_FILES)
def _descriptor(path: str, _inode: int, _mtime_ns: int) -> _Descriptor:
    """Open a file once; a file that was replaced since is another one."""
    return _Descriptor(path)


def _is_partial(path: Path) -> bool:
    """Say whether a file is, or was, being written and no link leads to it."""
    named = _PARTIAL.fullmatch(path.name)
    return named is not None and not leads_to(path.with_name(named[1]), path)


def _file_status(item: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of a file; None for anything else, or if it is gone."""
    try:
        status = followed(Path(item.path), Path(item.path).stat)
    except OSError as error:
        if error.errno in _BROKEN_LINK:
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


@contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """Yield a name beside `target` for the file while it is written; removed at the end."""
    with writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        # A file is where a directory has to be, or nobody can make one there (in /proc, say).
        except (FileExistsError, FileNotFoundError) as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
        part = part_beside(target)
        try:
            yield part
        finally:
            if not leads_to(target, part):
                part.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: BinaryIO, path: str) -> None:
    shutil.copyfileobj(source, target, _CHUNK)
    check_size(path, target.tell(), size_of(source))


def _flush(file: BinaryIO) -> None:
    """Wait until the bytes of a file are on the disk: a manifest must not outrun its shards."""
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(path: str) -> None:
    """Wait until the directory entry of a file is on the disk."""
    try:
        number = os.open(Path(path).parent, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in _NOT_REMOVED:
            raise
