"""Objects on S3, each made by one request, and read in requests that end in time.

S3 is configured by the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, AWS_ENDPOINT_URL. Every request ends in time, and is tried again while the store
is not well; the libraries below try once, so that their patience does not multiply with ours.
"""

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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

from data_pipeline.door import UserError
from data_pipeline.store import Entry, TransientError, check_size, size_of

CONNECT_SECONDS = 10.0  # until S3 takes the connection
READ_SECONDS = 20.0  # of silence while an answer is awaited
PATIENCE_SECONDS = 60.0  # for a request with all its tries

_PIECE = 16 * 2**20  # bytes a request: what a slow line (300 KB/s) moves within the patience
_MOST_PARTS = 10_000  # of one object, a rule of S3
_CONNECTIONS = 64  # more than a reader has threads
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # seconds between tries; doubled each time

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


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Give requests to S3 this long, with all their tries, instead of `PATIENCE_SECONDS`."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


def is_s3(uri: str) -> bool:
    """Say whether a URI is one of S3."""
    return uri.startswith("s3://")


def place(uri: str) -> tuple[str, str]:
    """Bucket and key of a URI; `UserError` when it names no bucket."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise UserError(f"{uri!r} names no bucket: give s3://bucket/key")
    return bucket, key.rstrip("/")


def exists(uri: str) -> bool:
    """Say whether there is an object, or one below `uri`, or a bucket that is all of `uri`."""
    bucket, key = place(uri)
    if key:
        with contextlib.suppress(FileNotFoundError):
            _request_object(uri, "head_object")
            return True
    page = _request(uri, "list_objects_v2", Bucket=bucket, Prefix=_prefix(key), MaxKeys=1)
    return not key or bool(page.get("Contents"))


def read_range(uri: str, start: int, size: int) -> bytes:
    """Read `size` bytes from byte `start`; fewer where the object ends."""
    try:
        return bytes(_get(uri, start, size)["Body"]) if size else b""
    except EOFError:
        return b""


def pieces(uri: str) -> Iterator[bytes]:
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


def entries(uri: str) -> Iterator[Entry]:
    """Objects below `uri`."""
    bucket, key = place(uri)
    asked = {"Bucket": bucket, "Prefix": _prefix(key)}
    while True:
        page = _request(uri, "list_objects_v2", **asked)
        for item in page.get("Contents", []):
            name = item["Key"].removeprefix(asked["Prefix"])
            # Some clients leave objects that stand for directories: "" or "shards/".
            if name and not name.endswith("/"):
                yield Entry(name, item["Size"], item["LastModified"].timestamp())
        if not page.get("IsTruncated"):
            return
        asked["ContinuationToken"] = page["NextContinuationToken"]


def create_bytes(uri: str, data: bytes) -> None:
    """Make a new object; FileExistsError when there is one already."""
    mark = {"created-by": secrets.token_hex(16)}
    try:
        _request_object(uri, "put_object", Body=data, Metadata=mark, IfNoneMatch="*")
    except FileExistsError:
        # It is there, and it is ours: then only the answer to a try before was lost. The libraries
        # below, too, ask again when a kept connection breaks, so tries cannot be counted here.
        with contextlib.suppress(FileNotFoundError):
            if _request_object(uri, "head_object")["Metadata"] == mark:
                return
        raise


def put(source: BinaryIO, uri: str) -> None:
    """Make an object of an open file, and look at what is there then."""
    size = size_of(source)
    if size <= _PIECE:
        _request_object(uri, "put_object", Body=source.read())
    else:
        _put_in_parts(source, uri, max(_PIECE, -(-size // _MOST_PARTS)))
    check_size(uri, _request_object(uri, "head_object")["ContentLength"], size)


def remove(uri: str) -> None:
    """Delete one object; no error when there is none."""
    _request_object(uri, "delete_object")


def client() -> Any:
    """The client, one for each process and settings: fsspec keeps them."""
    s3 = fsspec.filesystem(
        "s3",
        use_listings_cache=False,  # other processes write here too
        config_kwargs={
            "connect_timeout": CONNECT_SECONDS,
            "read_timeout": READ_SECONDS,
            "max_pool_connections": _CONNECTIONS,
            "retries": {"total_max_attempts": 1},
        },
    )
    s3.retries = 1
    return s3


def _prefix(key: str) -> str:
    return f"{key}/" if key else ""


def _get(uri: str, start: int, size: int, **conditions: str) -> dict[str, Any]:
    """A range of an object; EOFError when it begins where the object ends."""
    asked = f"bytes={start}-{start + size - 1}"
    return _request_object(uri, "get_object", Range=asked, **conditions)


def _put_in_parts(source: BinaryIO, uri: str, piece: int) -> None:
    """Send parts of `piece` bytes, one in memory at a time; the last request makes the object."""
    upload = {"UploadId": _request_object(uri, "create_multipart_upload")["UploadId"]}
    parts = []
    try:
        for number, data in enumerate(iter(lambda: source.read(piece), b""), 1):
            part = _request_object(uri, "upload_part", **upload, PartNumber=number, Body=data)
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        # No such upload: it is an object already, and only the answer to a try before was lost.
        with contextlib.suppress(FileNotFoundError):
            whole = {"Parts": parts}
            _request_object(uri, "complete_multipart_upload", **upload, MultipartUpload=whole)
    except BaseException:
        # What is left of an upload is invisible, but it is paid for.
        with within(_LONGEST_PAUSE), contextlib.suppress(Exception):
            _request_object(uri, "abort_multipart_upload", **upload)
        raise


def _request_object(uri: str, method: str, **asked: Any) -> dict[str, Any]:
    """`_request` for one object, the one at `uri`."""
    bucket, key = place(uri)
    return _request(uri, method, Bucket=bucket, Key=key, **asked)


def _request(uri: str, method: str, **asked: Any) -> dict[str, Any]:
    """Ask S3, and again while it is not well; a body is read whole.

    Raises:
        FileNotFoundError: there is no such object, or no such upload.
        FileExistsError: a condition does not hold.
        EOFError: a range begins where the object ends.
    """
    end = time.monotonic() + (_patience.get() or PATIENCE_SECONDS)
    longest = _FIRST_PAUSE
    while True:
        pause = random.uniform(0.5, 1.0) * longest
        try:
            return _try(uri, method, asked, end - time.monotonic())
        except TransientError:
            if time.monotonic() + 2 * pause >= end:  # a try needs time, too
                raise
        time.sleep(pause)
        longest = min(2 * longest, _LONGEST_PAUSE)


def _try(uri: str, method: str, asked: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Ask S3 once, for so long at most."""
    s3 = client()
    try:
        return dict(fsspec.asyn.sync(s3.loop, _answer, s3, method, asked, timeout=seconds))
    except _BELOW as error:
        raise _meaning(uri, error) from error


async def _answer(s3: Any, method: str, asked: dict[str, Any]) -> dict[str, Any]:
    answer = dict(await s3._call_s3(method, **asked))
    if method == "get_object":
        with contextlib.closing(answer["Body"]) as body:
            answer["Body"] = await body.read()
    return answer


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
            f"{uri}: there is no bucket {place(uri)[0]!r}: make it, or check the URI and "
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
