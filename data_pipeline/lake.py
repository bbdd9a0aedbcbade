"""One URI for disk and S3: a plain path or `s3://bucket/key`.

Only whole files appear: on disk a file is written beside its place and then linked or renamed,
on S3 an object is put in one call. (An exception inside `fs.open(..., "wb")` commits the
truncated object, so nothing here streams into an open remote file.)

S3 is configured by the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, AWS_ENDPOINT_URL.
"""

import errno
import functools
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from botocore.exceptions import (  # type: ignore[import-untyped]  # ships no types
    BotoCoreError,
    NoCredentialsError,
)

from data_pipeline.door import Refused, UserError, nearest

SCHEMES = ("file", "s3")
_PART = ".part"  # ends the name of a file that is being written: not a file yet
_OPEN_FILES = 128


class TransientError(Refused):
    """The store did not answer properly; the same call may succeed later."""


def absolute(uri_or_path: str) -> str:
    """Return a URI as it is and a path as an absolute path.

    Raises:
        UserError: the scheme is not one of `SCHEMES`.
    """
    scheme, separator, rest = uri_or_path.partition("://")
    if not separator:
        return str(Path(uri_or_path).expanduser().absolute())
    if scheme not in SCHEMES:
        raise UserError(
            f"{uri_or_path!r} has the scheme {scheme!r}{nearest(scheme, SCHEMES)}: "
            "give a path or s3://bucket/key"
        )
    return str(Path(rest).absolute()) if scheme == "file" else uri_or_path.rstrip("/")


def join(uri: str, *parts: str) -> str:
    """Append `parts` to a URI."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def exists(uri: str) -> bool:
    """Say whether there is a file (or, on disk, a directory) at `uri`."""
    if not _is_s3(uri):
        return Path(uri).exists()
    with _s3_errors(uri):
        return bool(_s3().exists(uri))


def read_bytes(uri: str) -> bytes:
    """Read a whole file; FileNotFoundError when there is none."""
    if not _is_s3(uri):
        return Path(uri).read_bytes()
    with _s3_errors(uri):
        return bytes(_s3().cat_file(uri))


def read_range(uri: str, start: int, size: int) -> bytes:
    """Read `size` bytes from byte `start`; fewer where the file ends. Safe in threads."""
    if not _is_s3(uri):
        status = Path(uri).stat()
        return _descriptor(uri, status.st_ino, status.st_mtime_ns).read(start, size)
    with _s3_errors(uri):
        try:
            return bytes(_s3().cat_file(uri, start=start, end=start + size))
        except OSError as error:
            if error.errno == errno.EINVAL:  # the range begins where the file ends
                return b""
            raise


def list_files(uri: str) -> list[str]:
    """Names of all files below `uri`, relative to it, sorted; [] when there are none."""
    if _is_s3(uri):
        with _s3_errors(uri):
            root = uri.removeprefix("s3://") + "/"
            found = [str(name).removeprefix(root) for name in _s3().find(uri)]
    else:
        found = [p.relative_to(uri).as_posix() for p in Path(uri).rglob("*") if p.is_file()]
    # Some clients leave objects that stand for directories: "" or "shards/".
    return sorted(name for name in found if name and not name.endswith(("/", _PART)))


def create_bytes(uri: str, data: bytes) -> None:
    """Write a new file; FileExistsError, and nothing changed, when there is one already."""
    if _is_s3(uri):
        with _s3_errors(uri):
            _s3().pipe_file(uri, data, mode="create")
        return
    with _part_of(Path(uri)) as part:
        _write_through(part, data)
        os.link(part, uri)  # unlike a rename, refuses to replace


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file, in place of the one there may be."""
    if _is_s3(uri):
        with _s3_errors(uri):
            _s3().pipe_file(uri, data)
        return
    with _part_of(Path(uri)) as part:
        _write_through(part, data)
        part.replace(uri)


def upload(local: Path, uri: str) -> None:
    """Copy a local file to `uri`, in place of the one there may be."""
    if _is_s3(uri):
        with _s3_errors(uri):
            _s3().put_file(str(local), uri)
        return
    with _part_of(Path(uri)) as part:
        shutil.copyfile(local, part)
        part.replace(uri)


def download(uri: str, local: Path) -> None:
    """Copy the file at `uri` to a local path, in place of the one there may be."""
    with _part_of(local) as part:
        if _is_s3(uri):
            with _s3_errors(uri):
                _s3().get_file(uri, str(part))
        else:
            shutil.copyfile(uri, part)
        part.replace(local)


def remove(uri: str) -> None:
    """Delete one file; no error when there is none."""
    if not _is_s3(uri):
        Path(uri).unlink(missing_ok=True)
        return
    with _s3_errors(uri):
        _s3().rm_file(uri)


def remove_files(uri: str, names: Sequence[str]) -> None:
    """Delete files below `uri` by their relative names, and the directories left empty there."""
    if _is_s3(uri):
        with _s3_errors(uri):
            for name in names:
                _s3().rm_file(join(uri, name))
        return
    root = Path(uri)
    for name in names:
        (root / name).unlink(missing_ok=True)
    for folder in sorted({(root / name).parent for name in names} | {root}, reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


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


@contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """A name beside `target` to write to first; gone at the end whatever happens."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_PART}")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _write_through(path: Path, data: bytes) -> None:
    """Write and wait until the bytes are on the disk: a manifest must not outrun its shards."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


def _s3() -> Any:
    # Listings are not cached: other processes write here too. fsspec keeps one client for each
    # process and settings.
    return fsspec.filesystem("s3", use_listings_cache=False)


@contextmanager
def _s3_errors(uri: str) -> Iterator[None]:
    """Tell the user's mistakes from a store that is not well."""
    try:
        yield
    except NoCredentialsError as error:
        raise UserError(
            f"{uri}: no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except PermissionError as error:
        raise UserError(f"{uri}: S3 refuses: {error}") from error
    except (BotoCoreError, ConnectionError, TimeoutError) as error:
        raise TransientError(f"{uri}: {error}") from error
