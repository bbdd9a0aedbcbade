"""A video at the size that it is tracked at: frames, flow between neighbours, the camera's motion.

Legend: `H`, `W` pixels of the video, `h`, `w` of the size that is worked at.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

from mlops.fills.flow import Flow, dis
from mlops.masking.camera import OFFSETS, Camera

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]

LONGER_SIDE = 640
"""Pixels; larger videos are tracked at this size, and their masks enlarged."""

_HELD = 2 * max(OFFSETS) + 2  # frames in memory: those that one is compared with


@final
class Scene(Sequence[Frame]):
    """Frames of a video, scaled, the last ones held in memory.

    Args:
        frames: uint8 [H,W,3], of one size.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self.full = frames[0].shape[:2]
        scale = min(1.0, LONGER_SIDE / max(self.full))
        self.size = max(1, round(scale * self.full[0])), max(1, round(scale * self.full[1]))
        self._scaled = lru_cache(_HELD)(self._read)
        self._flow = dis()
        self.camera = Camera(self)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, number: int) -> Frame:  # type: ignore[override]
        return self._scaled(number)

    def _read(self, number: int) -> Frame:
        frame = self._frames[number]
        return frame if self.size == self.full else _resized(frame, self.size, cv2.INTER_AREA)

    def flow(self, one: int, other: int) -> tuple[Flow, Flow]:
        """Flow from a frame to another, and back: float32 [h,w,2] each."""
        return self._flow(one, self[one], self[other])

    def moved(self, number: int) -> Numbers:
        """`Camera.moved` of a frame, at the size of the video."""
        return _resized(self.camera.moved(number), self.full, cv2.INTER_LINEAR)

    def scaled(self, mask: Mask) -> Mask:
        """A mask of the video at the size that is worked at."""
        return self._in_size(mask, self.size)

    def enlarged(self, mask: Mask) -> Mask:
        """A mask at the size that is worked at at the size of the video."""
        return self._in_size(mask, self.full)

    def _in_size(self, mask: Mask, size: tuple[int, ...]) -> Mask:
        if mask.shape == size:
            return mask
        share = _resized(mask.astype(np.float32), size, cv2.INTER_LINEAR)
        return np.asarray(share > 0.5, np.bool_)


def _resized(values: NDArray, size: tuple[int, ...], how: int) -> NDArray:  # type: ignore[type-arg]
    return np.asarray(cv2.resize(values, (size[1], size[0]), interpolation=how))
