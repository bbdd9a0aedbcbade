"""Masks of some frames -> masks of all: carried along optical flow, both ways from each.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W], True = the object. An
anchor is a frame whose mask is given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from mlops.fills.flow import FlowSource, dis

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Step = Callable[[Frame, Mask, Frame], Mask]
"""A frame, its mask and a neighbour -> the neighbour's mask."""


def track(frames: Sequence[Frame], anchors: Mapping[int, Mask]) -> Iterator[Mask]:
    """Track an object through a video from the frames whose mask is known.

    Before the first anchor it is tracked backwards, after the last forwards, and between two of
    them from both, joined.

    Args:
        frames: uint8 [H,W,3], of one size; asked for one at a time, so they may be on disk.
        anchors: frame number, from 0 -> its mask; kept exactly.

    Yields:
        the mask of each frame, in order.

    Raises:
        UserError: no anchor, one that is beyond the end or of another size, or only empty ones.
    """
    _check(frames, anchors)
    numbers = sorted(anchors)
    step = _carried(dis())
    first, last = numbers[0], numbers[-1]
    yield from reversed([*_followed(frames, range(first, -1, -1), anchors[first], step)])
    for one, other in pairwise(numbers):
        yield anchors[one]
        yield from _joined(frames, one, other, anchors, step)
    yield anchors[last]
    yield from _followed(frames, range(last, len(frames)), anchors[last], step)


def _check(frames: Sequence[Frame], anchors: Mapping[int, Mask]) -> None:
    if not anchors:
        raise UserError("nothing to track: give a box, points or a mask on at least one frame")
    for number, mask in anchors.items():
        if not 0 <= number < len(frames):
            raise UserError(
                f"frame {number} is not in the video, which has frames 0 to {len(frames) - 1}"
            )
        height, width = frames[number].shape[:2]
        if mask.shape != (height, width):
            raise UserError(
                f"the mask of frame {number} is {mask.shape[1]}x{mask.shape[0]}, the video is "
                f"{width}x{height}: give one of the video's size"
            )
    if not any(mask.any() for mask in anchors.values()):
        raise UserError("the mask is empty: mark at least one pixel of the object")


def _followed(frames: Sequence[Frame], numbers: range, mask: Mask, step: Step) -> Iterator[Mask]:
    """Masks of the frames after the first of some, each from the one before."""
    for one, other in pairwise(numbers):
        mask = step(frames[one], mask, frames[other])
        yield mask


def _joined(
    frames: Sequence[Frame], first: int, last: int, anchors: Mapping[int, Mask], step: Step
) -> Iterator[Mask]:
    """Masks between two anchors: from the nearer of the two."""
    middle = (first + last + 1) // 2
    yield from _followed(frames, range(first, middle), anchors[first], step)
    yield from reversed([*_followed(frames, range(last, middle - 1, -1), anchors[last], step)])


def _carried(flow: FlowSource) -> Step:
    def step(frame: Frame, mask: Mask, neighbour: Frame) -> Mask:
        if not mask.any():
            return mask
        back = flow(0, frame, neighbour)[1]
        y, x = np.mgrid[: mask.shape[0], : mask.shape[1]].astype(np.float32)
        carried = cv2.remap(
            mask.astype(np.float32), x + back[..., 0], y + back[..., 1], cv2.INTER_LINEAR
        )
        return np.asarray(carried > 0.5, np.bool_)

    return step
