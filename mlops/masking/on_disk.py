"""Frames and masks on disk, read in any order: memory does not grow with the length of a video.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W].
"""

import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]


@final
class FramesOnDisk(Sequence[Frame]):
    """Frames as JPEG files `00000.jpg` … in a folder: about a tenth of their size in memory.

    Args:
        folder: that has them.
        count: how many.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self._count = folder, count

    @classmethod
    def written(cls, folder: Path, frames: Iterable[Frame]) -> "FramesOnDisk":
        """Write frames, uint8 [H,W,3], to an empty folder."""
        made = cls(folder, 0)
        for frame in frames:
            _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), _QUALITY)
            made._file(made._count).write_bytes(data.tobytes())
            made._count += 1
        return made

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Frame:  # type: ignore[override]
        data = np.frombuffer(self._file(number).read_bytes(), np.uint8)
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:05d}.jpg"


@final
class MasksOnDisk:
    """Masks by their number, packed, in a temporary file; a few KB each. A context manager."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed at the end of the context)
        self._places: dict[int, tuple[int, int, tuple[int, ...]]] = {}

    def __enter__(self) -> "MasksOnDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __setitem__(self, number: int, mask: Mask) -> None:
        data = zlib.compress(np.packbits(mask).tobytes(), 1)
        self._places[number] = self._file.seek(0, 2), len(data), mask.shape
        self._file.write(data)

    def __getitem__(self, number: int) -> Mask:
        start, size, shape = self._places[number]
        self._file.seek(start)
        bits = np.frombuffer(zlib.decompress(self._file.read(size)), np.uint8)
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(np.bool_)
