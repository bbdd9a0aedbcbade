"""The classical fills of `floors.py`, computed on whole clips.

Legend: `T` frames, `H`, `W` pixels; frames uint8 RGB [T,H,W,3]; masks uint8 [T,H,W], nonzero =
hole. Known pixels stay as they are.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import dilation, disk

from mlops.evaluation.floors import RING_PIXELS, TELEA_PIXELS
from mlops.fills.propagation import Fill, diffused, propagated
from mlops.tracking import names

_NOTHING_KNOWN = 128  # mid grey

Frames = NDArray[np.uint8]
ClipFill = Callable[[Frames, Frames], Frames]
"""Frames and masks of a clip -> the frames, filled."""
_Where = NDArray[np.bool_]
_FrameFill = Callable[[Frames, _Where], Frames]
"""A frame [H,W,3] and its hole [H,W], neither empty nor the whole frame -> the frame, filled."""


def _each(fill: _FrameFill) -> ClipFill:
    """Apply a fill of one frame to every frame of a clip; mid grey where nothing is known."""

    def filled(frame: Frames, hole: _Where) -> Frames:
        if hole.all():
            return np.full_like(frame, _NOTHING_KNOWN)
        return fill(frame, hole) if hole.any() else frame

    def fill_clip(frames: Frames, masks: Frames) -> Frames:
        return np.stack([filled(*pair) for pair in zip(frames, masks != 0, strict=True)])

    return fill_clip


def _streamed(fill: Fill) -> ClipFill:
    """Apply a fill that streams to a whole clip."""

    def fill_clip(frames: Frames, masks: Frames) -> Frames:
        return np.stack([one.frame for one in fill(zip(frames, masks, strict=True))])

    return fill_clip


def _frame_mean(frame: Frames, hole: _Where) -> Frames:
    return _coloured(frame, hole, ~hole)


def _ring_mean(frame: Frames, hole: _Where) -> Frames:
    wider = dilation(hole, disk(RING_PIXELS))  # type: ignore[no-untyped-call]  # scikit-image
    return _coloured(frame, hole, wider & ~hole)


def _coloured(frame: Frames, hole: _Where, known: _Where) -> Frames:
    """Fill the hole with the mean colour of some known pixels."""
    filled = frame.copy()
    filled[hole] = np.floor(frame[known].mean(axis=0) + 0.5).astype(np.uint8)
    return filled


def _telea(frame: Frames, hole: _Where) -> Frames:
    filled = cv2.inpaint(frame, hole.astype(np.uint8), TELEA_PIXELS, cv2.INPAINT_TELEA)
    return np.asarray(filled, np.uint8)


FILLS: dict[str, ClipFill] = {
    names.SUBJECT_FRAME_MEAN: _each(_frame_mean),
    names.SUBJECT_RING_MEAN: _each(_ring_mean),
    names.SUBJECT_TELEA: _each(_telea),
    names.SUBJECT_DIFFUSED: _streamed(diffused),
    names.SUBJECT_PROPAGATED: _streamed(propagated),
}
"""Subject -> its fill, in the order of `floors.FLOORS`."""
