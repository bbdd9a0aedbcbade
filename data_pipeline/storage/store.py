"""Shared by disk and S3: entries of a listing, errors, a check of sizes."""

import errno
import os
from dataclasses import dataclass
from typing import BinaryIO

from data_pipeline.cli.command import Refused

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers of a full disk."""


class TransientError(Refused):
    """The store failed; the same call may succeed later."""


class DiskFull(Refused):
    """There is no room left for a file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """File in a listing."""

    name: str
    """Path below what was listed, with "/" between its parts."""
    size: int
    """Size in bytes."""
    modified: float
    """Time of the last change, seconds since 1970 on the clock of the store."""


def size_of(file: BinaryIO) -> int:
    """Return the size of an open file, which is left at its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def check_size(uri: str, actual: int, expected: int) -> None:
    """Raise `TransientError` unless as many bytes arrived as were sent."""
    if actual != expected:
        raise TransientError(
            f"{uri}: {actual} of {expected} bytes arrived: run the same command again"
        )
