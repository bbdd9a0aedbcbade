"""Segments of a long video that an interrupted run has filled, kept until the video is written.

A segment is a zip with one entry a frame: what the model changed, answer minus input of 8 bits
modulo 256, which is 0 outside of the hole and packs well; the zip has a checksum of each entry.
"""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.storage import disk, lake

Frame = NDArray[np.uint8]

_CODEC = pa.Codec("zstd", compression_level=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the segments of one output are kept."""

    uri: str
    """Folder or s3:// prefix of this output alone."""
    identity: str
    """Hash of all that decides what the frames are; segments of another one are not used."""

    def count(self) -> int:
        """Count the segments that are kept."""
        return sum(name.startswith(f"{self.identity}/") for name in lake.list_files(self.uri))

    def forget(self, *, others: bool = False) -> None:
        """Delete the segments, or those of other identities only."""
        names = [one.name for one in lake.list_partial_files(self.uri)]
        names += lake.list_files(self.uri)
        mine = f"{self.identity}/"
        gone = [name for name in names if not (others and name.startswith(mine))]
        lake.remove_files(self.uri, gone)


@final
class Segments:
    """The segments of a place; made by `opened`."""

    def __init__(self, uri: str, files: list[Path], frames: int) -> None:
        self.count = len(files)
        """Segments from the first on that are whole."""
        self._uri, self._files, self._frames = uri, files, frames

    def changes(self, number: int, shape: tuple[int, ...]) -> Iterator[Frame]:
        """Read what the model changed in each frame of a segment.

        Args:
            number: of the segment, below `count`.
            shape: of a frame at the model's size.
        """
        size = int(np.prod(shape))
        with zipfile.ZipFile(self._files[number]) as file:
            for name in file.namelist():
                pixels = _CODEC.decompress(file.read(name), size, asbytes=True)
                yield np.frombuffer(pixels, np.uint8).reshape(shape)

    @contextmanager
    def writing(self, number: int) -> Iterator[Callable[[Frame], None]]:
        """Give a function that keeps the next frame; a segment is kept when it is whole.

        Raises:
            DiskFull: there is no room for it.
        """
        with ExitStack() as stack:
            path, kept = stack.enter_context(scratch_folder("segment")) / _name(number), 0
            with disk.writing(path):
                file = stack.enter_context(zipfile.ZipFile(path, "w"))

            def keep(change: Frame) -> None:
                nonlocal kept
                with disk.writing(path):
                    file.writestr(f"{kept}", _CODEC.compress(change, asbytes=True))
                kept += 1

            yield keep
            if kept == self._frames:
                with disk.writing(path):
                    file.close()
                lake.upload(path, lake.join(self._uri, _name(number)))


@contextmanager
def opened(place: Place, frames: int) -> Iterator[Segments]:
    """Open the segments that are kept at a place, those from the first on that are whole.

    Args:
        place: segments of other identities there are deleted.
        frames: of a segment.
    """
    place.forget(others=True)
    uri = lake.join(place.uri, place.identity)
    there = set(lake.list_files(uri))
    files: list[Path] = []
    with ExitStack() as stack:
        while (name := _name(len(files))) in there:
            path = stack.enter_context(lake.local_copy(lake.join(uri, name)))
            if not _is_whole(path, frames):
                break
            files.append(path)
        yield Segments(uri, files, frames)


def _is_whole(path: Path, frames: int) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return len(file.namelist()) == frames and file.testzip() is None
    except zipfile.BadZipFile:
        return False


def _name(number: int) -> str:
    return f"{number:05d}.zip"
