"""Objects on S3, made and read in requests with a timeout.

S3 is configured by the usual variables: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, AWS_ENDPOINT_URL. Every request has a timeout and is retried while the store
fails; the libraries below try once, so that their retries do not multiply with ours.
"""

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, BinaryIO

import fsspec
import fsspec.asyn

from data_pipeline.cli.command import UserError
from data_pipeline.storage.s3_answers import (
    LIBRARY_ERRORS,
    SuspectEndpointError,
    endpoint,
    lacks_reason,
    refuse_other_server,
    to_exception,
)
from data_pipeline.storage.store import Entry, TransientError, check_size, size_of

CONNECT_TIMEOUT_S = 10.0  # until S3 takes the connection
READ_TIMEOUT_S = 20.0  # without a byte of the response
RETRY_TIMEOUT_S = 60.0  # of a request with all its retries
# The same until the endpoint has answered as S3 does: nothing may be there at all.
UNKNOWN_ENDPOINT_TIMEOUT_S = 10.0

_PIECE = 16 * 2**20  # bytes a request: what a slow line (300 KB/s) moves within the timeout
_MAX_PARTS = 10_000  # of one object, a rule of S3
_CONNECTIONS = 64  # more than a reader has threads
_FIRST_PAUSE, _MAX_PAUSE = 0.2, 10.0  # seconds between tries; doubled each time

_known: set[str] = set()  # endpoints that answered in this process

_retry_timeout: ContextVar[float | None] = ContextVar("retry_timeout", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Limit requests to S3, with all their retries, to this time instead of `RETRY_TIMEOUT_S`."""
    token = _retry_timeout.set(seconds)
    try:
        yield
    finally:
        _retry_timeout.reset(token)


def is_s3(uri: str) -> bool:
    """Say whether a URI is one of S3."""
    return uri.startswith("s3://")


def place(uri: str) -> tuple[str, str]:
    """Split a URI into bucket and key; `UserError` when it names no bucket."""
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
    """Read an object in several requests, all of the same version of it."""
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


def entry(uri: str) -> Entry:
    """Describe one object; FileNotFoundError when there is none."""
    _, key = place(uri)
    if not key:
        raise FileNotFoundError(uri)
    head = _request_object(uri, "head_object")
    modified = head["LastModified"].timestamp()
    return Entry(key.rpartition("/")[2], head["ContentLength"], modified)


def entries(uri: str) -> Iterator[Entry]:
    """List the objects below `uri`."""
    bucket, key = place(uri)
    parameters = {"Bucket": bucket, "Prefix": _prefix(key)}
    while True:
        page = _request(uri, "list_objects_v2", **parameters)
        for item in page.get("Contents", []):
            name = item["Key"].removeprefix(parameters["Prefix"])
            # Some clients leave objects that stand for directories: "" or "shards/".
            if name and not name.endswith("/"):
                yield Entry(name, item["Size"], item["LastModified"].timestamp())
        if not page.get("IsTruncated"):
            return
        parameters["ContinuationToken"] = page["NextContinuationToken"]


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
    """Make an object from an open file, and check its size."""
    size = size_of(source)
    if size <= _PIECE:
        _request_object(uri, "put_object", Body=source.read())
    else:
        _put_in_parts(source, uri, max(_PIECE, -(-size // _MAX_PARTS)))
    check_size(uri, _request_object(uri, "head_object")["ContentLength"], size)


def remove(uri: str) -> None:
    """Delete one object; no error when there is none."""
    _request_object(uri, "delete_object")


def client() -> Any:
    """Return the client, one for each process and settings: fsspec caches them."""
    return fsspec.filesystem(
        "s3",
        use_listings_cache=False,  # other processes write here too
        config_kwargs={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "max_pool_connections": _CONNECTIONS,
            "retries": {"total_max_attempts": 1},
        },
    )


def _prefix(key: str) -> str:
    return f"{key}/" if key else ""


def _get(uri: str, start: int, size: int, **conditions: str) -> dict[str, Any]:
    """Read a range of an object; EOFError when it begins where the object ends."""
    byte_range = f"bytes={start}-{start + size - 1}"
    return _request_object(uri, "get_object", Range=byte_range, **conditions)


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
        with within(_MAX_PAUSE), contextlib.suppress(Exception):
            _request_object(uri, "abort_multipart_upload", **upload)
        raise


def _request_object(uri: str, method: str, **parameters: Any) -> dict[str, Any]:
    """Send a request about the object at `uri`, as `_request` does."""
    bucket, key = place(uri)
    return _request(uri, method, Bucket=bucket, Key=key, **parameters)


def _request(uri: str, method: str, **parameters: Any) -> dict[str, Any]:
    """Send a request to S3, with retries; the body of a response is read whole.

    Raises:
        FileNotFoundError: there is no such object, or no such upload.
        FileExistsError: a condition does not hold.
        EOFError: a range begins where the object ends.
    """
    begun = time.monotonic()
    end = begun + (_retry_timeout.get() or RETRY_TIMEOUT_S)
    longest = _FIRST_PAUSE
    while True:
        pause = random.uniform(0.5, 1.0) * longest
        try:
            return _try(uri, method, parameters, end - time.monotonic())
        except TransientError as error:
            if isinstance(error, SuspectEndpointError) and endpoint() not in _known:
                end = min(end, begun + UNKNOWN_ENDPOINT_TIMEOUT_S)
            if time.monotonic() + 2 * pause >= end:  # a try needs time, too
                raise
        time.sleep(pause)
        longest = min(2 * longest, _MAX_PAUSE)


def _try(uri: str, method: str, parameters: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Send a request to S3 once, with a timeout."""
    s3 = client()
    try:
        answer = dict(fsspec.asyn.sync(s3.loop, _answer, s3, method, parameters, timeout=seconds))
    except LIBRARY_ERRORS as error:
        if method == "head_object" and lacks_reason(error):
            # A GET is refused for the same reason, and says it.
            _try(uri, "get_object", {**parameters, "Range": "bytes=0-0"}, seconds)
        raise to_exception(uri, method, error) from error
    refuse_other_server(uri, method, answer)
    _known.add(endpoint())
    return answer


async def _answer(s3: Any, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
    answer = dict(await getattr(await s3.set_session(), method)(**parameters))
    if method == "get_object":
        with contextlib.closing(answer["Body"]) as body:
            answer["Body"] = await body.read()
    return answer
