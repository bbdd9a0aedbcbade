"""Translates errors of MLflow's store into five classes, each with the cure, in one line.

A record is deleted (and can be restored) or gone; the store is unreachable, incapable, or denies
access. MLflow passes on errors of its store, its client, SQL, HTTP and the artifacts, so the class
follows from the error's text.
"""

import errno
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException

from data_pipeline.cli.command import UserError
from data_pipeline.storage.store import FULL, TransientError

_LIBRARIES = ("mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "botocore", "boto3")
_DRIVERS = ("psycopg", "psycopg2", "MySQLdb", "pymysql", "pyodbc", "boto3", "google", "azure")
_MAX_REASON = 200  # characters
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


class StoreError(UserError):
    """MLflow's store refuses a request, or fails."""


class Deleted(StoreError):  # noqa: N818 (as `Refused`)
    """The record is marked as deleted: it can be restored."""


class Gone(StoreError):  # noqa: N818 (as `Refused`)
    """There is no such record in the store, or no such store."""


class Unreachable(StoreError, TransientError):  # noqa: N818 (as `Refused`)
    """The store does not answer, or only with errors; a retry may succeed."""


class Incapable(StoreError):  # noqa: N818 (as `Refused`)
    """The store is not MLflow, or not a version that is needed."""


class Denied(StoreError):  # noqa: N818 (as `Refused`)
    """The store denies access."""


# Text of an error -> its class, and the message after "MLflow at …". The first match counts.
_KNOWN: tuple[tuple[str, type[StoreError], str], ...] = (
    (
        r"(?P<what>run|experiment) (?P<id>\S+) must be in the 'active' state",
        Deleted,
        "has {what} {id} marked as deleted: restore it by MLFLOW_TRACKING_URI={uri} mlflow {what}s "
        "restore --{what}-id {id}",
    ),
    (
        r"Invalid Host header",
        Denied,
        "does not answer to that host name: start it with --allowed-hosts and the name, with and "
        "without the port",
    ),
    (
        r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNEXPECTED_MESSAGE",
        Denied,
        "speaks no TLS: give its address with http://",
    ),
    (
        r"SSLError|SSL: |SSLCertVerification",
        Denied,
        "has a certificate that is not trusted here: set MLFLOW_TRACKING_SERVER_CERT_PATH to the "
        "file of its authority, or give another --tracking-uri",
    ),
    (
        r"NameResolutionError|Name or service not known|failed to resolve|name resolution",
        Unreachable,
        "does not answer, for its host name does not resolve: correct it, or give another "
        "--tracking-uri",
    ),
    (
        r"too many 5\d\d error|error code 5\d\d|TEMPORARILY_UNAVAILABLE",
        Unreachable,
        "answers with errors only: look at its log, and run the same command again",
    ),
    (
        r"plain HTTP request was sent to HTTPS|HTTP request to an HTTPS server",
        Denied,
        "speaks TLS only: give its address with https://",
    ),
    (
        r"not in a valid JSON format|JSONDecodeError|Expecting value: line 1|Exceeded \d+ redirects"
        r"|error code 4(?!0[45]|13)\d\d != 200\. Response body: '\s*<",
        Incapable,
        "answers with a page that is not MLflow's (a login?): give the address of MLflow itself, "
        "or what it wants (MLFLOW_TRACKING_TOKEN, or a user with a password)",
    ),
    (
        r"endpoint \S*logged-models\S* failed with error code 40[45]",
        Incapable,
        "knows no logged models, which versions are registered from: upgrade it to MLflow 3, or "
        "give another --tracking-uri",
    ),
    (
        r"endpoint \S* failed with error code 40[45]|ENDPOINT_NOT_FOUND",
        Incapable,
        "does not know the request: it is no MLflow, or one that is too old. Upgrade it, "
        "or give another --tracking-uri",
    ),
    (
        r"error code 413|413 Client Error",
        Incapable,
        "takes no file of that size: raise the limit of the proxy before it",
    ),
    (
        r"Invalid url|LocationParseError",
        Incapable,
        "is no address: give http://HOST:PORT",
    ),
    (
        r"Max retries exceeded|Connection (refused|reset|aborted)|Failed to establish|timed out"
        r"|RemoteDisconnected|timeout exception",
        Unreachable,
        "does not answer: start it, or give another --tracking-uri",
    ),
    (
        r"database( table)? is locked",
        Unreachable,
        "is locked by another process: wait for it or end it, and run the same command again",
    ),
    (
        r"readonly database",
        Denied,
        "may not be written: give yourself the right to write the database and its folder",
    ),
    (
        r"disk is full|disk I/O error|No space left|File too large",
        Unreachable,
        "has no room on its disk: free some space and run the same command again",
    ),
    (
        r"unable to open database file",
        Denied,
        "cannot be opened: give a database in a folder that you may write to",
    ),
    (
        r"not a database|malformed",
        Incapable,
        "is no SQLite database, or a damaged one: give another --tracking-uri",
    ),
    (
        r"password authentication failed|no password supplied|Access denied|pg_hba|role \S+ does "
        r"not exist|[Pp]ermission denied",
        Denied,
        "does not let us in ({reason}): set PGUSER and PGPASSWORD, or ask its administrator",
    ),
    (
        r"database \S+ does not exist|Unknown database",
        Incapable,
        "has no such database ({reason}): make it, or give another --tracking-uri",
    ),
    (
        r"out-of-date database schema|Can't locate revision|no such (table|column)|relation \S+ "
        r"does not exist|table \S+ already exists",
        Incapable,
        "has tables of another MLflow ({reason}): back it up and upgrade it by `mlflow db upgrade`,"
        " or use the MLflow that made it",
    ),
    (
        r"\(\S*(OperationalError|InterfaceError)\)",
        Unreachable,
        "does not answer ({reason}): start it, or give another --tracking-uri",
    ),
    (
        r"\(\S*(DatabaseError|ProgrammingError|NotSupportedError)\)|Could not parse SQLAlchemy URL"
        r"|Can't load plugin",
        Incapable,
        "is no database for MLflow ({reason}): give another --tracking-uri",
    ),
    (
        r"NoCredentialsError|Unable to locate credentials|EndpointConnectionError"
        r"|Could not connect to the endpoint|InvalidAccessKeyId|SignatureDoesNotMatch"
        r"|NoSuchBucket|AccessDenied",
        Denied,
        "keeps its files where they cannot be reached from here ({reason}): set the keys and the "
        "address of that store, or have the server pass them on (--serve-artifacts)",
    ),
    (
        r"API request to \S+ failed with exception",
        Unreachable,
        "does not answer as it should ({reason}): look at its log, or give another --tracking-uri",
    ),
)
_STATUS = re.compile(r"error code (\d{3})")
_STATUS_OF = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Raise errors of MLflow's store as a `StoreError`, and others as they are."""
    try:
        yield
    except Exception as error:
        found = as_store_error(error, uri)
        if found is None:
            raise
        raise found from error


def as_store_error(error: BaseException, uri: str) -> StoreError | None:
    """Translate an error that MLflow raised; None when it is a fault of ours, or of MLflow."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, OSError) and not _is_of(error, _LIBRARIES):
        return _of_disk(error)
    if isinstance(error, ModuleNotFoundError):
        return _of_driver(error, uri)
    if not _is_of(error, _LIBRARIES):
        return None
    text = _text(error)
    who = f"MLflow at {uri}"
    denied = _of_login(error, text, who)
    if denied is not None:
        return denied
    for pattern, kind, words in _KNOWN:
        if found := re.search(pattern, text):
            reason = brief(str(error))
            said = words.format(reason=reason, uri=shlex.quote(uri), **found.groupdict())
            return kind(f"{who} {said}")
    return None


def brief(text: str, max_chars: int = _MAX_REASON) -> str:
    """Cut a text to its beginning on one line, between two words."""
    said = re.split(r"\n\[SQL|\n\(Background|Response body", text)[0]
    words = " ".join(re.sub(r"^\([\w.]+\) ", "", said).split())
    if len(words) <= max_chars:
        return words.rstrip(" .:")
    return words[:max_chars].rpartition(" ")[0].rstrip(" .:,") + " …"


def _text(error: BaseException) -> str:
    """Join the messages of an error and of its causes, with their classes."""
    parts, one = [], error
    for _ in range(5):
        parts.append(f"{one} ({type(one).__name__})")
        if one.__cause__ is None:
            break
        one = one.__cause__
    return "\n".join(parts)


def _is_of(error: BaseException, libraries: tuple[str, ...]) -> bool:
    return any(kind.__module__.partition(".")[0] in libraries for kind in type(error).__mro__)


def _of_login(error: BaseException, text: str, who: str) -> Denied | None:
    """Translate an error of authentication or authorisation."""
    if "Invalid Host header" in text:
        return None
    found = _STATUS.search(text)
    status = int(found[1]) if found else None
    if status is None and isinstance(error, MlflowException):
        status = _STATUS_OF.get(error.error_code)
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    login = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if status == 401:
        no = f"does not know user {user!r} with this password" if user else "wants to know who asks"
        return Denied(f"{who} {no}: {login}")
    if status == 403 and not user:
        return Denied(f"{who} does not let everybody do this: {login}")
    if status == 403:
        return Denied(f"{who} does not let user {user!r} do this: ask its administrator for it")
    return None


def _of_disk(error: OSError) -> StoreError | None:
    """Translate an error of a disk: of MLflow's files, or of copies on the way to them."""
    if isinstance(error, shutil.Error):  # of many files; it has their reasons as text
        text = str(error)
        full = any(os.strerror(one) in text for one in FULL)
        if not full and not any(os.strerror(one) in text for one in _UNWRITABLE):
            return None
        where = brief(text)
    elif error.errno in (*FULL, *_UNWRITABLE):
        full = error.errno in FULL
        where = f"{error.filename or 'a file on the way to MLflow'}: {error.strerror}"
    else:
        return None
    if full:
        return Unreachable(f"{where}: free some space and run the same command again")
    return Denied(f"{where}: give a place that you may use")


def _of_driver(error: ModuleNotFoundError, uri: str) -> StoreError | None:
    name = (error.name or "").partition(".")[0]
    if name not in _DRIVERS:
        return None
    return Incapable(
        f"MLflow at {uri} is reached by way of the package {name}, which is not installed: install "
        "it (psycopg[binary] for postgresql://), or give another --tracking-uri"
    )
