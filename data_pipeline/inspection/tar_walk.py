"""Reads a tar once, front to back: its hash, and its members with their CRC-32.

Not by `tarfile.open`, which takes a damaged or missing header in the middle for the end; here both
are errors with their place. Pieces and everything in a tar are multiples of one block, so a header
never lies in two pieces.
"""

import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from data_pipeline.storage import lake

BLOCK = 512
PIECE = 4 * 2**20  # bytes of one read: large for a request to S3, small for a processor's cache


class DamagedTarError(ValueError):
    """The bytes are not those of a whole tar; the message says where."""


@dataclass(frozen=True, slots=True)
class Member:
    """File inside of a tar."""

    name: str
    offset: int
    """First byte of its data in the tar."""
    size: int
    crc32: int
    data: bytes
    """Its bytes; b"" for frames, which are not kept."""


class Stream:
    """A file of the lake that is hashed while it is read."""

    def __init__(self, uri: str) -> None:
        self.size = 0
        self._uri = uri
        self._sha256 = hashlib.sha256()
        self._piece = memoryview(b"")
        self._at = 0

    @property
    def sha256(self) -> str:
        """Hash of everything that was read so far, 64 hex digits."""
        return self._sha256.hexdigest()

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self.size - len(self._piece) + self._at

    def take(self, max_bytes: int) -> memoryview:
        """Read up to `max_bytes`: fewer where a piece ends, none where the file does."""
        if self._at == len(self._piece):
            self._piece = memoryview(lake.read_range(self._uri, self.size, PIECE))
            self._sha256.update(self._piece)
            self.size += len(self._piece)
            self._at = 0
        taken = self._piece[self._at : self._at + max_bytes]
        self._at += len(taken)
        return taken

    def drain(self) -> None:
        """Read to the end."""
        while self.take(PIECE):
            pass


def members(stream: Stream) -> Iterator[Member]:
    """Iterate over the members of a tar of a data set.

    Raises:
        DamagedTarError: it is cut off, or is no tar.
    """
    while True:
        start = stream.tell()
        header = bytes(stream.take(BLOCK))
        if len(header) == BLOCK and not any(header):
            return
        name, size = _read_header(header, start)
        kept, crc32 = [], 0
        offset, left = stream.tell(), size
        while left:
            part = stream.take(left)
            if not part:
                raise DamagedTarError(f"is cut off in {name}, at byte {stream.tell()}")
            crc32 = zlib.crc32(part, crc32)
            left -= len(part)
            if not name.endswith(".jpg"):
                kept.append(bytes(part))
        stream.take(-size % BLOCK)
        yield Member(name, offset, size, crc32, b"".join(kept))


def _read_header(header: bytes, start: int) -> tuple[str, int]:
    """Return (name, size) of a member."""
    if not header:
        raise DamagedTarError(f"is cut off at byte {start}")
    try:
        member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise DamagedTarError(f"holds no tar header at byte {start}") from None
    return member.name, member.size
