"""One URI for disk and S3: a plain path or `s3://bucket/key`.

Only whole files appear: on disk a file is written beside its place, flushed, and then linked or
renamed; on S3 an object is put in one request, or in parts that become an object in one request.
(An exception inside `fs.open(..., "wb")` commits the truncated object, so nothing here streams into
an open remote file.)

S3 is configured by the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, AWS_ENDPOINT_URL. Every request ends in time, and is tried again while the store
is not well; the libraries below try once, so that their patience does not multiply with ours.

Errors: `UserError` for what the user can cure, `TransientError` for a store that is not well,
`DiskFull`; FileNotFoundError and FileExistsError where a function says so.
"""

import contextlib
import errno
import functools
import itertools
import os
import random
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from re import match
from typing import Any, BinaryIO

import aiohttp
import fsspec
import fsspec.asyn
from botocore.exceptions import (  # type: ignore[import-untyped]  # ships no types
    BotoCoreError,
    ClientError,
    ConfigParseError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]  # ships no types

from data_pipeline.door import Refused, UserError, nearest

SCHEMES = ("file", "s3")
CONNECT_SECONDS = 10.0  # until S3 takes the connection
READ_SECONDS = 20.0  # of silence while an answer is awaited
PATIENCE_SECONDS = 60.0  # for a request with all its tries

_PART = ".part"  # ends the name of a file that is being written: not a file yet
_OPEN_FILES = 128
_PIECE = 16 * 2**20  # bytes a request: what a slow line (300 KB/s) moves within the patience
_MOST_PARTS = 10_000  # of one object, a rule of S3
_CONNECTIONS = 64  # more than a reader has threads
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds between tries; doubled each time

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

# What a store answers, below 500, to a request that came to harm on its way, or came too early.
_TRY_AGAIN_STATUS = {408, 409, 429}
_TRY_AGAIN = {
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}

# What the libraries below raise; an answer that says no is the cause of an OSError.
_BELOW = (OSError, ValueError, BotoCoreError, ResponseParserError, aiohttp.ClientError)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError)
_SETTINGS = (ConfigParseError, ParamValidationError, ProfileNotFound)

_patience: ContextVar[float | None] = ContextVar("patience", default=None)


class TransientError(Refused):
    """The store did not answer properly; the same call may succeed later."""


class DiskFull(Refused):
    """There is no room left where something was to be written."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a listing."""

    name: str
    """Relative to what was listed, with "/" between its parts."""
    size: int
    """Bytes."""
    modified: float
    """Seconds since 1970, on the clock of the store."""


def absolute(uri_or_path: str) -> str:
    """Return a URI as it is and a path as an absolute path.

    Raises:
        UserError: the scheme is not one of `SCHEMES`, or the URI names no bucket.
    """
    scheme, separator, rest = uri_or_path.partition("://")
    if not separator:
        if match("s3:|file:", uri_or_path):
            raise UserError(f"{uri_or_path!r} is no URI: give a path or s3://bucket/key")
        return str(Path(uri_or_path).expanduser().absolute())
    if scheme not in SCHEMES:
        raise UserError(
            f"{uri_or_path!r} has the scheme {scheme!r}{nearest(scheme, SCHEMES)}: "
            "give a path or s3://bucket/key"
        )
    if scheme == "file":
        return str(Path(rest).absolute())
    _place(uri_or_path)
    return uri_or_path.rstrip("/")


def join(uri: str, *parts: str) -> str:
    """Append `parts` to a URI."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give requests to S3 this long, with all their tries, instead of `PATIENCE_SECONDS`."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


def exists(uri: str) -> bool:
    """Say whether there is a file or a directory at `uri`."""
    if not _is_s3(uri):
        with _reading(uri):
            return Path(uri).exists()
    bucket, key = _place(uri)
    if key:
        with contextlib.suppress(FileNotFoundError):
            _request(uri, "head_object", Bucket=bucket, Key=key)
            return True
    page = _request(uri, "list_objects_v2", Bucket=bucket, Prefix=_prefix(key), MaxKeys=1)
    return not key or bool(page.get("Contents"))


def read_bytes(uri: str) -> bytes:
    """Read a whole file; FileNotFoundError when there is none."""
    if _is_s3(uri):
        return b"".join(_pieces(uri))
    with _reading(uri):
        return Path(uri).read_bytes()


def read_range(uri: str, start: int, size: int) -> bytes:
    """Read `size` bytes from byte `start`; fewer where the file ends. Safe in threads."""
    if _is_s3(uri):
        try:
            return bytes(_get(uri, start, size)["Body"]) if size else b""
        except EOFError:
            return b""
    with _reading(uri):
        status = Path(uri).stat()
        return _descriptor(uri, status.st_ino, status.st_mtime_ns).read(start, size)


def list_entries(uri: str) -> list[Entry]:
    """All files below `uri`, by name; [] when there are none.

    On disk a symbolic link is listed when it leads to a file; one that leads to a directory is not
    followed.
    """
    found = _entries_on_s3(uri) if _is_s3(uri) else _entries_on_disk(uri)
    # Some clients leave objects that stand for directories: "" or "shards/".
    files = (entry for entry in found if entry.name and not entry.name.endswith(("/", _PART)))
    return sorted(files, key=lambda entry: entry.name)


def list_files(uri: str) -> list[str]:
    """Names of all files below `uri`, relative to it, sorted; [] when there are none."""
    return [entry.name for entry in list_entries(uri)]


def create_bytes(uri: str, data: bytes) -> None:
    """Write a new file; FileExistsError, and nothing changed, when there is one already."""
    if _is_s3(uri):
        _create_object(uri, data)
        return
    with _part_of(Path(uri)) as part:
        with _flushed(part) as file:
            file.write(data)
        try:
            os.link(part, uri)  # unlike a rename, refuses to replace
        except FileExistsError:
            # A network file system may link, lose the answer and ask again.
            if part.stat().st_nlink == 1:
                raise
        _flush_folder(uri)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file, in place of the one there may be."""
    if _is_s3(uri):
        _put(BytesIO(data), uri)
        return
    with _part_of(Path(uri)) as part:
        with _flushed(part) as file:
            file.write(data)
        part.replace(uri)
        _flush_folder(uri)


def upload(local: Path, uri: str) -> None:
    """Copy a local file to `uri`, in place of the one there may be."""
    with _reading(local), local.open("rb") as source:
        if _is_s3(uri):
            _put(source, uri)
            return
        with _part_of(Path(uri)) as part:
            with _flushed(part) as file:
                _copy(source, file, uri)
            part.replace(uri)
            _flush_folder(uri)


def download(uri: str, local: Path) -> None:
    """Copy the file at `uri` to a local path, in place of the one there may be."""
    with _part_of(local) as part:
        with part.open("wb") as file:
            if _is_s3(uri):
                file.writelines(_pieces(uri))
            else:
                with _reading(uri), Path(uri).open("rb") as source:
                    _copy(source, file, uri)
        part.replace(local)


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """A file as a local path: on disk itself, else a copy that is gone afterwards."""
    if not _is_s3(uri):
        yield Path(uri)
        return
    with _writing(tempfile.gettempdir()):
        scratch = tempfile.TemporaryDirectory(prefix="sttn-copy-")
    with scratch as folder:
        local = Path(folder) / uri.rpartition("/")[2]
        download(uri, local)
        yield local


def remove(uri: str) -> None:
    """Delete one file; no error when there is none."""
    if not _is_s3(uri):
        with _writing(uri):
            Path(uri).unlink(missing_ok=True)
        return
    bucket, key = _place(uri)
    _request(uri, "delete_object", Bucket=bucket, Key=key)


def remove_files(uri: str, names: Sequence[str]) -> None:
    """Delete files below `uri`, in the order of their relative names given.

    The directories left empty there, and `uri` itself when it is one, go too.
    """
    for name in names:
        remove(join(uri, name))
    if _is_s3(uri):
        return
    root = Path(uri)
    above = {root / parent for name in names for parent in Path(name).parents} | {root}
    for folder in sorted(above, reverse=True):
        with _writing(folder):
            _remove_if_empty(folder)


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
def _reading(path: str | Path) -> Iterator[None]:
    """Name what keeps a file on disk from being read."""
    try:
        yield
    except PermissionError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): give a place you may read"
        ) from error
    except OSError as error:
        if error.errno in _SICK:
            raise TransientError(f"{path}: the disk does not answer properly: {error}") from error
        raise


@contextmanager
def _writing(path: str | Path) -> Iterator[None]:
    """Name what keeps a place on disk from being written."""
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
            raise TransientError(f"{path}: the disk does not answer properly: {error}") from error
        raise


@contextmanager
def _part_of(target: Path) -> Iterator[Path]:
    """A name beside `target` to write to first; gone at the end whatever happens."""
    with _writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:  # a file is where a directory has to be
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_PART}")
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _flushed(path: Path) -> Iterator[BinaryIO]:
    """A new file whose bytes are on the disk at the end: a manifest must not outrun its shards."""
    with path.open("wb") as file:
        yield file
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


def _copy(source: BinaryIO, target: BinaryIO, uri: str) -> None:
    shutil.copyfileobj(source, target, 2**20)
    _same_size(uri, target.tell(), _size(source))


def _size(file: BinaryIO) -> int:
    """Bytes of an open file, which is left at its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _same_size(uri: str, there: int, asked: int) -> None:
    if there != asked:
        raise TransientError(
            f"{uri}: {there} bytes came through of {asked}: run the same command again"
        )


def _entries_on_disk(root: str) -> Iterator[Entry]:
    below = [""]
    while below:
        folder = below.pop()
        # A folder may be gone by now, and what was asked for may be none.
        gone = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with _reading(root), gone, os.scandir(f"{root}/{folder}") as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    below.append(f"{folder}{item.name}/")
                elif status := _file_status(item):
                    yield Entry(f"{folder}{item.name}", status.st_size, status.st_mtime)


def _file_status(item: os.DirEntry[str]) -> os.stat_result | None:
    """None for what is no file, or is gone since."""
    try:
        status = item.stat()
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return None
        raise
    return status if stat.S_ISREG(status.st_mode) else None


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in _STAYS:
            raise


def _is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


def _place(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise UserError(f"{uri!r} names no bucket: give s3://bucket/key")
    return bucket, key.rstrip("/")


def _prefix(key: str) -> str:
    return f"{key}/" if key else ""


def _entries_on_s3(uri: str) -> Iterator[Entry]:
    bucket, key = _place(uri)
    asked = {"Bucket": bucket, "Prefix": _prefix(key)}
    while True:
        page = _request(uri, "list_objects_v2", **asked)
        for item in page.get("Contents", []):
            name = item["Key"].removeprefix(asked["Prefix"])
            yield Entry(name, item["Size"], item["LastModified"].timestamp())
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def _pieces(uri: str) -> Iterator[bytes]:
    """The bytes of an object, in requests that end in time, all of one version of it."""
    start, total = 0, 1
    same: dict[str, str] = {}
    while start < total:
        try:
            answer = _get(uri, start, _PIECE, **same)
        except EOFError:  # an empty object has no range
            return
        except FileExistsError as error:
            raise TransientError(f"{uri} was replaced while it was read: read it again") from error
        yield answer["Body"]
        start += len(answer["Body"])
        total = int(answer["ContentRange"].rpartition("/")[2])
        same = {"IfMatch": answer["ETag"]}


def _get(uri: str, start: int, size: int, **conditions: str) -> dict[str, Any]:
    """A range of an object; EOFError when it begins where the object ends."""
    bucket, key = _place(uri)
    asked = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{start + size - 1}"}
    return _request(uri, "get_object", **asked, **conditions)


def _create_object(uri: str, data: bytes) -> None:
    bucket, key = _place(uri)
    mark = {"created-by": secrets.token_hex(16)}
    asked = {"Bucket": bucket, "Key": key}
    try:
        _request(uri, "put_object", **asked, Body=data, Metadata=mark, IfNoneMatch="*")
    except FileExistsError:
        # It is there, and it is ours: then only the answer to a try before was lost. The libraries
        # below, too, ask again when a kept connection breaks, so tries cannot be counted here.
        with contextlib.suppress(FileNotFoundError):
            if _request(uri, "head_object", **asked)["Metadata"] == mark:
                return
        raise


def _put(source: BinaryIO, uri: str) -> None:
    """Make an object of an open file, and look at what is there then."""
    bucket, key = _place(uri)
    size = _size(source)
    if size <= _PIECE:
        _request(uri, "put_object", Bucket=bucket, Key=key, Body=source.read())
    else:
        _put_in_parts(source, uri, max(_PIECE, -(-size // _MOST_PARTS)))
    there = _request(uri, "head_object", Bucket=bucket, Key=key)
    _same_size(uri, there["ContentLength"], size)


def _put_in_parts(source: BinaryIO, uri: str, piece: int) -> None:
    """Send parts of `piece` bytes, one in memory at a time; the last request makes the object."""
    bucket, key = _place(uri)
    asked = {"Bucket": bucket, "Key": key}
    asked["UploadId"] = _request(uri, "create_multipart_upload", **asked)["UploadId"]
    parts = []
    try:
        for number, data in enumerate(iter(lambda: source.read(piece), b""), 1):
            part = _request(uri, "upload_part", **asked, PartNumber=number, Body=data)
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        # No such upload: it is an object already, and only the answer to a try before was lost.
        with contextlib.suppress(FileNotFoundError):
            all_parts = {"Parts": parts}
            _request(uri, "complete_multipart_upload", **asked, MultipartUpload=all_parts)
    except BaseException:
        # What is left of an upload is invisible, but it is paid for.
        with within(_LONGEST_PAUSE), contextlib.suppress(Exception):
            _request(uri, "abort_multipart_upload", **asked)
        raise


def _request(uri: str, method: str, **asked: Any) -> dict[str, Any]:
    """Ask S3, and again while it is not well; a body is read whole.

    Raises:
        FileNotFoundError: there is no such object, or no such upload.
        FileExistsError: a condition does not hold.
        EOFError: a range begins where the object ends.
    """
    end = time.monotonic() + (_patience.get() or PATIENCE_SECONDS)
    for attempt in itertools.count():
        try:
            return _try(uri, method, asked, end - time.monotonic())
        except TransientError:
            pause = random.uniform(0.5, 1.0) * min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
            if time.monotonic() + 2 * pause >= end:  # a try needs time, too
                raise
        time.sleep(pause)
    raise AssertionError("counting ends never")


def _try(uri: str, method: str, asked: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Ask S3 once, for so long at most."""
    s3 = _s3()
    try:
        answer: dict[str, Any] = fsspec.asyn.sync(
            s3.loop, _answer, s3, method, asked, timeout=seconds
        )
    except _BELOW as error:
        raise _meaning(uri, error) from error
    return answer


async def _answer(s3: Any, method: str, asked: dict[str, Any]) -> dict[str, Any]:
    answer = dict(await s3._call_s3(method, **asked))
    if method == "get_object":
        body = answer["Body"]
        try:
            answer["Body"] = await body.read()
        finally:
            body.close()
    return answer


def _s3() -> Any:
    # Listings are not cached: other processes write here too. fsspec keeps one client for each
    # process and settings.
    s3 = fsspec.filesystem(
        "s3",
        use_listings_cache=False,
        config_kwargs={
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "max_pool_connections": _CONNECTIONS,
            "retries": {"total_max_attempts": 1},
        },
    )
    s3.retries = 1
    return s3


def _meaning(uri: str, error: Exception) -> Exception:
    """What an error of the libraries below means to who asked."""
    if isinstance(error.__cause__, ClientError):
        return _refusal(uri, error.__cause__.response)
    said = " ".join(str(error).split()) or "no answer in time"
    if isinstance(error, _NO_CREDENTIALS):
        return UserError(
            f"{uri}: no credentials for S3 ({said}): set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if isinstance(error, _SETTINGS) or type(error) is ValueError:
        return UserError(
            f"{uri}: S3 cannot be asked ({said}): check the URI and the AWS_ variables; "
            "AWS_ENDPOINT_URL is as http://host:port"
        )
    return TransientError(
        f"{uri}: the store does not answer properly ({said}): check AWS_ENDPOINT_URL and the "
        "network, or run the same command again later"
    )


def _refusal(uri: str, response: dict[str, Any]) -> Exception:
    """What an answer of S3 that says no means."""
    status = response["ResponseMetadata"]["HTTPStatusCode"]
    code = response["Error"].get("Code", status)
    said = f"{code}: {' '.join(response['Error'].get('Message', '').split())}"
    if code in _TRY_AGAIN or status in _TRY_AGAIN_STATUS or status >= 500:
        return TransientError(
            f"{uri}: the store is not well ({said}): run the same command again later"
        )
    if code == "NoSuchBucket":
        return UserError(
            f"{uri}: there is no bucket {_place(uri)[0]!r}: make it, or check the URI and "
            "AWS_ENDPOINT_URL"
        )
    if status in (401, 403):
        return UserError(
            f"{uri}: S3 refuses these credentials ({said}): check AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and what they allow"
        )
    known = {404: FileNotFoundError, 412: FileExistsError, 416: EOFError}
    if status in known:
        return known[status](f"{uri}: {said}")
    return UserError(
        f"{uri}: S3 refuses ({said}): check the URI, AWS_ENDPOINT_URL and AWS_DEFAULT_REGION"
    )
