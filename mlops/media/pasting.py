"""Pure: a model's answer in the hole of a frame, in 8 bits and in the depth of the source.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a deep one uint16 of 16 bits.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mlops.media.holes import Hole
from mlops.media.video import Timed

Frame = NDArray[np.uint8]
Deep = NDArray[np.uint16]

_DEEPER = 257  # 255 -> 65535


def pasted(frame: Frame, answer: Frame, hole: Hole) -> Frame:
    """The answer in the hole, a mixture over its soft edge, the frame's own pixels elsewhere."""
    result = frame.copy()
    box = _box(hole)
    inside = hole.mask[box][..., np.newaxis] != 0
    there, new = frame[box], answer[box]
    if hole.weight is not None:
        weight = hole.weight[box][..., np.newaxis]
        new = np.round(weight * new + (1 - weight) * there).astype(np.uint8)
    result[box] = np.where(inside, new, there)
    return result


def resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """The frame at another size (width, height), bicubic; the same array at the same size."""
    if (frame.shape[1], frame.shape[0]) == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def deepened(frame: Frame) -> Deep:
    """A frame of 8 bits in 16."""
    return frame.astype(np.uint16) * _DEEPER


def deep_result(source: Timed, result: Frame, hole: Hole) -> Deep | None:
    """A result in 16 bits: its fill has 8, what is around it those of the source; None for 8."""
    if source.deep is None:
        return None
    whole, box = source.deep.copy(), _box(hole)
    there, deep = source.deep[box], deepened(result[box])
    if hole.weight is not None:  # over a soft edge the frame has its share, rounded to 8 bits
        finer = there.astype(np.float32) - deepened(source.frame[box])
        share = 1 - hole.weight[box][..., np.newaxis]
        deep = np.clip(np.round(deep + share * finer), 0, 65535).astype(np.uint16)
    whole[box] = np.where(hole.mask[box][..., np.newaxis] != 0, deep, there)
    return whole


def _box(hole: Hole) -> tuple[slice, slice]:
    """Rows and columns around a hole: what is outside needs no work and no memory."""
    rows, columns = (np.flatnonzero(hole.mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0), slice(0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
