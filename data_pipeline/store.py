"""What disk and S3 have in common: what a listing holds, how they fail, whether all bytes came."""

import os
from dataclasses import dataclass
from typing import BinaryIO

from data_pipeline.door import Refused


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


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file, which is left at its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def check_size(uri: str, there: int, asked: int) -> None:
    """Raise `TransientError` unless as many bytes came through as were asked to."""
    if there != asked:
        raise TransientError(
            f"{uri}: {there} bytes came through of {asked}: run the same command again"
        )
