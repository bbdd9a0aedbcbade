"""Receives a form with files: straight to disk, within limits of bytes and of time.

Starlette's own forms go through the temporary folder first, whatever their size.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO, final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from data_pipeline.cli.command import nearest
from data_pipeline.storage import disk
from mlops.serving.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

PACE_BYTES, PACE_S = 2**16, 30.0  # a client that sends less than so much in so long is cut off
_MAX_FIELD_BYTES = 2**16
_BUFFER_BYTES = 2**20


@dataclass(slots=True)
class Sent:
    """A file of a form."""

    path: Path
    """Where it is on disk."""
    name: str
    """Name that the client gave, without folders."""


@dataclass(slots=True)
class Form:
    """What a form held."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, Sent] = field(default_factory=dict)


async def receive_form(
    request: Request, folder: Path, *, fields: Collection[str], files: Collection[str], limit: int
) -> Form:
    """Receive a form of multipart/form-data.

    Args:
        request: one whose body was not read.
        folder: where files are written, each under the name of its field.
        fields: names that fields without a file may have.
        files: names that fields with a file may have.
        limit: of the whole body, bytes.

    Raises:
        Problem: no such form, too large, too slow, or cut off.
        DiskFull: there is no room.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise Problem(415, "the body is no form with files: send multipart/form-data")
    refuse_large(request, limit)
    with disk.writing(folder), ExitStack() as stack:
        reading = _Reading(stack, folder, fields, files)
        try:
            parser = MultipartParser(boundary, reading.callbacks())
            async for chunk in within_limits(request, limit):
                await asyncio.to_thread(parser.write, chunk)
            parser.finalize()
        except FormParserError as error:
            raise Problem(400, f"the form cannot be read: {error}") from error
    if not reading.whole:
        raise Problem(400, "the form ends before its last boundary: send all of it")
    return reading.form


def refuse_large(request: Request, limit: int) -> None:
    """Refuse a body that is declared too large, before any of it is read.

    Raises:
        Problem: it is.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit:
        raise _too_large(limit)


async def within_limits(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Read a body piece by piece.

    Raises:
        Problem: it is too large, comes too slowly, or is cut off.
    """
    pieces, received, paced = request.stream(), 0, 0
    deadline = time.monotonic() + PACE_S
    while True:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                piece = await anext(pieces, None)
        except TimeoutError as error:
            raise Problem(
                408, f"less than {PACE_BYTES} bytes came in {PACE_S:.0f} s: send faster"
            ) from error
        except ClientDisconnect as error:
            raise Problem(400, "the connection was closed before all was sent") from error
        if piece is None:
            return
        received += len(piece)
        if received > limit:
            raise _too_large(limit)
        if received - paced >= PACE_BYTES:
            paced, deadline = received, time.monotonic() + PACE_S
        yield piece


def _too_large(limit: int) -> Problem:
    return Problem(413, f"the request is larger than {limit / 1e6:,.0f} MB, the most that is taken")


@final
class _Reading:
    """Callbacks of the parser: what it finds, and where that is written."""

    def __init__(
        self, stack: ExitStack, folder: Path, fields: Collection[str], files: Collection[str]
    ) -> None:
        self.form, self.whole = Form(), False
        self._stack, self._folder = stack, folder
        self._fields, self._files = fields, files
        self._header = self._value = b""
        self._name = ""
        self._text = b""
        self._file: BinaryIO | None = None

    def callbacks(self) -> "MultipartCallbacks":
        """Return them by the names that the parser has for them."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all,
        }

    def _begin(self) -> None:
        self._name, self._text, self._file = "", b"", None
        self._disposition: dict[bytes, bytes] = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, self._disposition = parse_options_header(self._value)
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        self._name = self._disposition.get(b"name", b"").decode("utf-8", "replace")
        sent = self._disposition.get(b"filename")
        known = self._fields if sent is None else self._files
        what = "field" if sent is None else "file"
        if self._name not in known:
            raise Problem(
                422, f"no {what} {self._name!r} is expected{nearest(self._name, known)}: "
                f"there are {', '.join(sorted(known)) or 'none'}"
            )  # fmt: skip
        if self._name in (self.form.fields | self.form.files):
            raise Problem(422, f"the form has {what} {self._name!r} twice: send one")
        if sent is not None:
            path = self._folder / self._name
            self._file = self._stack.enter_context(path.open("wb", _BUFFER_BYTES))
            name = PurePath(sent.decode("utf-8", "replace").replace("\\", "/")).name
            self.form.files[self._name] = Sent(path, name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _MAX_FIELD_BYTES:
            raise Problem(413, f"field {self._name!r} is longer than {_MAX_FIELD_BYTES} bytes")

    def _end(self) -> None:
        if self._file is None:
            self.form.fields[self._name] = self._text.decode("utf-8", "replace")
        else:
            self._file.close()

    def _all(self) -> None:
        self.whole = True
