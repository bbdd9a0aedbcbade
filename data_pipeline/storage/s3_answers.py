"""Translates responses of S3, of other servers, or none, into errors of one line with the cure.

Servers that are not S3 answer anything, also with "200 OK" and with redirections to a page. So a
response counts only with what S3 sends: the fields of a success, the code of an error.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import aiohttp
from botocore import exceptions as boto  # type: ignore[import-untyped]  # ships no types
from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]  # ships no types

from data_pipeline.cli.command import UserError
from data_pipeline.storage.store import TransientError

LIBRARY_ERRORS = (
    OSError,
    ValueError,
    boto.ClientError,  # an error response
    boto.BotoCoreError,
    ResponseParserError,
    aiohttp.ClientError,
)

# Responses below 500 to a request that was damaged on its way, or came too early.
_TRY_AGAIN_STATUS = {408, 409, 429}
_TRY_AGAIN = {
    "BadDigest",
    "IncompleteBody",
    "RequestTimeout",
    "SlowDown",
    "XAmzContentSHA256Mismatch",
}
_OTHER_REGION = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
}
_TOKENS = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}
_WRONG_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch"}
_NOT_THERE = {"NoSuchKey", "NoSuchUpload", "NoSuchVersion", "NotFound"}
_MAX_SKEW_S = 15 * 60  # that S3 allows between a request's clock and its own

_RIGHTS = {
    "delete_object": "s3:DeleteObject",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "list_objects_v2": "s3:ListBucket",
}
_FIELDS = {  # of a success
    "create_multipart_upload": "UploadId",
    "get_object": "ContentRange",
    "list_objects_v2": "IsTruncated",
}
_NO_FIELD = {"abort_multipart_upload", "delete_object"}

_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
)
# Of the errors of botocore only these are transient.
_NETWORK = (
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.MetadataRetrievalError,
)
_WRONG_TLS = ("WRONG_VERSION_NUMBER", "CERTIFICATE_VERIFY_FAILED", "UNKNOWN_PROTOCOL")


class SuspectEndpointError(TransientError):
    """A transient error that a wrong AWS_ENDPOINT_URL would cause as well."""


def endpoint() -> str:
    """Return the endpoint URL of S3, "" for AWS itself."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")


def refuse_other_server(uri: str, method: str, answer: Mapping[str, Any]) -> None:
    """Raise `UserError` for a success without the fields that S3 sends."""
    about = answer["ResponseMetadata"]
    kind = about.get("HTTPHeaders", {}).get("content-type", "")
    if method in _NO_FIELD:
        empty = about["HTTPStatusCode"] == HTTPStatus.NO_CONTENT
        other = not empty and kind.startswith(("text/html", "application/json"))
    else:
        other = _FIELDS.get(method, "ETag") not in answer
    if other:
        raise _other_server(uri, f"{about['HTTPStatusCode']} {kind}")


def lacks_reason(error: Exception) -> bool:
    """Say whether an error response to HEAD lacks the reason, which needs a body."""
    if not isinstance(error, boto.ClientError):
        return False
    return error.response["ResponseMetadata"]["HTTPStatusCode"] in (301, 400, 401, 403)


def to_exception(uri: str, method: str, error: Exception) -> Exception:
    """Translate an error of `LIBRARY_ERRORS`.

    Returns:
        FileNotFoundError: there is no such object, or no such upload.
        FileExistsError: a condition does not hold.
        EOFError: a range begins where the object ends.
        UserError: a retry would fail again.
        TransientError: a retry may succeed.
    """
    if isinstance(error, boto.ClientError):
        return _refusal(uri, method, error.response)
    said = " ".join(str(error).split()) or "no answer in time"
    below = getattr(error, "kwargs", {}).get("error")
    if below is not None and str(below) not in said:
        said += f": {' '.join(str(below).split())}"
    if isinstance(error, _NO_CREDENTIALS):
        return UserError(
            f"{uri}: no credentials for S3 ({said}): set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if any(one in said for one in _WRONG_TLS):
        return UserError(
            f"{uri}: no safe connection to S3 ({said}): check http or https in AWS_ENDPOINT_URL, "
            "and AWS_CA_BUNDLE where the store has a certificate of its own"
        )
    if _is_permanent(error, below):
        return UserError(
            f"{uri}: S3 cannot be reached ({said}): check the URI, AWS_DEFAULT_REGION and the "
            "other AWS_ variables; AWS_ENDPOINT_URL is as http://host:port"
        )
    nobody = isinstance(error, boto.EndpointConnectionError)
    garbage = isinstance(below, aiohttp.ClientResponseError)
    kind = SuspectEndpointError if nobody or garbage else TransientError
    return kind(
        f"{uri}: the store does not answer properly ({said}): check AWS_ENDPOINT_URL, "
        "AWS_DEFAULT_REGION and the network, or run the same command again later"
    )


def _is_permanent(error: Exception, below: object) -> bool:
    """Say whether an error comes from the settings, not from the network."""
    if isinstance(error, boto.BotoCoreError):
        settings = isinstance(below, (ValueError, FileNotFoundError))
        return settings or not isinstance(error, _NETWORK)
    return isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError)


def _refusal(uri: str, method: str, response: Mapping[str, Any]) -> Exception:
    """Translate an error response."""
    about = response["ResponseMetadata"]
    status, headers = about["HTTPStatusCode"], about.get("HTTPHeaders", {})
    code = str(response["Error"].get("Code", ""))
    said = f"{code}: {' '.join(response['Error'].get('Message', '').split())}"
    # The library puts the number of the status for a code that is not there.
    named = not code.isdecimal() and code != ""
    if named and (status == HTTPStatus.NOT_IMPLEMENTED or code == "NotImplemented"):
        return UserError(
            f"{uri}: this store cannot do what is needed ({said}): it must know ranges, multipart "
            "uploads and conditional writes (If-None-Match)"
        )
    if code in _TRY_AGAIN or status in _TRY_AGAIN_STATUS or status >= 500:
        kind = TransientError if named or method == "head_object" else SuspectEndpointError
        hint = "" if named else ", and not as S3 does: check AWS_ENDPOINT_URL"
        return kind(f"{uri}: the store fails ({said}){hint}: run the same command again later")
    if not named and method != "head_object":
        return _other_server(uri, f"{status} {headers.get('content-type', '')}")
    known = {404: FileNotFoundError, 412: FileExistsError, 416: EOFError}
    if code == "NoSuchBucket":
        return UserError(
            f"{uri}: there is no bucket {_bucket(uri)!r}: make it, or check the URI and "
            "AWS_ENDPOINT_URL"
        )
    if status in known and (status != 404 or not named or code in _NOT_THERE):
        return known[status](f"{uri}: {said}")
    return UserError(f"{uri}: {_cure(method, code, said, status, response)}")


def _cure(method: str, code: str, said: str, status: int, response: Mapping[str, Any]) -> str:
    """Say why S3 refuses for good, and what to do."""
    headers = response["ResponseMetadata"].get("HTTPHeaders", {})
    skew_s = _skew_s(headers.get("date", ""))
    if code == "RequestTimeTooSkewed" or (status == 403 and abs(skew_s) > _MAX_SKEW_S):
        by = f"{abs(skew_s) / 60:.0f} min {'ahead of' if skew_s > 0 else 'behind'}"
        how = f"is {by}" if abs(skew_s) > _MAX_SKEW_S else "differs by more than 15 min from"
        return f"the clock of this machine {how} that of S3 ({said}): set it, as NTP does"
    region = headers.get("x-amz-bucket-region") or response["Error"].get("Region")
    if code in _OTHER_REGION or status == 301:
        there = f": set AWS_DEFAULT_REGION={region}" if region else ""
        return (
            f"the bucket is in another region ({said}){there or ': set AWS_DEFAULT_REGION to it'}"
        )
    if code in _TOKENS:
        return (
            f"S3 refuses the session token ({said}): get new credentials, and set "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or unset the last"
        )
    if status == 401 or code in _WRONG_KEYS:
        return (
            f"S3 refuses these credentials ({said}): check AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if status == 403:
        return (
            f"S3 refuses these credentials {_RIGHTS.get(method, 's3:PutObject')} here ({said}): "
            "give them that right, or check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return f"S3 refuses ({said}): check the URI, AWS_ENDPOINT_URL and AWS_DEFAULT_REGION"


def _other_server(uri: str, answered: str) -> UserError:
    return UserError(
        f"{uri}: the server is not S3 ({answered.strip()}): check AWS_ENDPOINT_URL "
        f"({endpoint() or 'not set'}); it is as http://host:port"
    )


def _bucket(uri: str) -> str:
    return uri.removeprefix("s3://").partition("/")[0]


def _skew_s(date: str) -> float:
    """Return how many seconds the clock here is ahead of a Date header; 0 without one."""
    try:
        return (datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
