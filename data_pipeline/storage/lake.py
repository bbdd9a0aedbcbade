"""One URI for disk and S3: a plain path or `s3://bucket/key`.

Files appear whole or not at all: on disk a file is linked or renamed when it is whole, on S3 one
request makes the object. (An exception inside `fs.open(..., "wb")` commits the truncated object, so
nothing here streams into an open remote file.)

Errors: `UserError` for what the user can cure, `TransientError` for a store that fails for a while,
`DiskFull`; FileNotFoundError and FileExistsError where a function says so.
"""

import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from re import match
from typing import BinaryIO
from urllib.parse import unquote

from data_pipeline.cli.command import UserError, nearest
from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.storage import disk, s3
from data_pipeline.storage.exclusive import PART
from data_pipeline.storage.s3 import is_s3, within
from data_pipeline.storage.store import DiskFull, Entry, TransientError

__all__ = [
    "DiskFull",
    "Entry",
    "TransientError",
    "absolute",
    "create_bytes",
    "download",
    "entry",
    "exists",
    "is_s3",
    "join",
    "list_entries",
    "list_files",
    "list_partial_files",
    "local_copy",
    "now",
    "read_bytes",
    "read_range",
    "remove",
    "remove_files",
    "upload",
    "within",
    "write_bytes",
]

SCHEMES = ("file", "s3")


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
    if scheme == "file":  # as `Path.as_uri` writes it
        path = unquote(rest.removeprefix("localhost"))
        if not path.startswith("/"):
            raise UserError(f"{uri_or_path!r} names a host: give file:///path, or the path alone")
        return str(Path(path))
    s3.place(uri_or_path)
    return uri_or_path.rstrip("/")


def join(uri: str, *parts: str) -> str:
    """Append `parts` to a URI; empty ones are none, for on S3 `a//b` is not `a/b`."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts if part)])


def exists(uri: str) -> bool:
    """Say whether there is a file or a directory at `uri`."""
    return s3.exists(uri) if is_s3(uri) else disk.exists(uri)


def read_bytes(uri: str) -> bytes:
    """Read a whole file; FileNotFoundError when there is none."""
    return b"".join(s3.pieces(uri)) if is_s3(uri) else disk.read_bytes(uri)


def read_range(uri: str, start: int, size: int) -> bytes:
    """Read `size` bytes from byte `start`; fewer where the file ends. Safe in threads."""
    return s3.read_range(uri, start, size) if is_s3(uri) else disk.read_range(uri, start, size)


def entry(uri: str) -> Entry:
    """Describe one file, by its name alone; FileNotFoundError when there is none."""
    return s3.entry(uri) if is_s3(uri) else disk.entry(uri)


def list_entries(uri: str) -> list[Entry]:
    """List all files below `uri`, by name; [] when there are none.

    On disk a symbolic link is listed when it leads to a file; one that leads to a directory is not
    followed.
    """
    found = s3.entries(uri) if is_s3(uri) else disk.entries(uri)
    files = (one for one in found if not one.name.endswith(PART))
    return sorted(files, key=lambda one: one.name)


def list_partial_files(uri: str) -> list[Entry]:
    """List files below `uri` that are being written, or whose writer was killed.

    S3 has none: there one request makes a whole object.
    """
    return [] if is_s3(uri) else disk.partial_files(uri)


def list_files(uri: str) -> list[str]:
    """List the names of all files below `uri`, relative to it, sorted; [] when there are none."""
    return [one.name for one in list_entries(uri)]


def create_bytes(uri: str, data: bytes) -> None:
    """Write a new file; FileExistsError, and nothing changed, when there is one already."""
    return s3.create_bytes(uri, data) if is_s3(uri) else disk.create_bytes(uri, data)


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file, replacing any that is there."""
    _put(BytesIO(data), uri)


def upload(local: Path, uri: str) -> None:
    """Copy a local file to `uri`, replacing any that is there."""
    with disk.reading(local), local.open("rb") as source:
        _put(source, uri)


def download(uri: str, local: Path) -> None:
    """Copy the file at `uri` to a local path, replacing any that is there."""
    with disk.replacing(local) as file:
        if is_s3(uri):
            file.writelines(s3.pieces(uri))
        else:
            disk.get(uri, file)


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """Give a file a local path: on disk itself, else a copy that is removed afterwards."""
    if not is_s3(uri):
        yield Path(uri)
        return
    with ExitStack() as stack:
        with disk.writing(tempfile.gettempdir()):
            folder = stack.enter_context(scratch_folder("copy"))
        local = folder / uri.rpartition("/")[2]
        download(uri, local)
        yield local


def remove(uri: str) -> None:
    """Delete one file; no error when there is none."""
    return s3.remove(uri) if is_s3(uri) else disk.remove(uri)


def remove_files(uri: str, names: Sequence[str]) -> None:
    """Delete files below `uri`, in the order of their relative names given.

    The directories left empty there, and `uri` itself when it is one, go too.
    """
    for name in names:
        remove(join(uri, name))
    if not is_s3(uri):
        disk.remove_empty_folders(uri, names)


def now(uri: str) -> float:
    """Return the time on the clock of the store, seconds since 1970: from a file made there."""
    folder = join(uri, f".clock-{secrets.token_hex(4)}")
    try:
        write_bytes(join(folder, "now"), b"")
        return list_entries(folder)[0].modified
    finally:
        remove_files(folder, ["now"])


def _put(source: BinaryIO, uri: str) -> None:
    return s3.put(source, uri) if is_s3(uri) else disk.put(source, uri)
