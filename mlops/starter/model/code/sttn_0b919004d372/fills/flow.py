"""Optical flow between two neighbouring frames: the protocol, and OpenCV's DIS behind it.

Legend: `H`, `W` pixels; frames are uint8 RGB [H,W,3]; a flow is float32 [H,W,2], (x, y) in pixels:
where a pixel of a frame is in the other one.
"""

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Flow = NDArray[np.float32]

DIS_LEAST_PIXELS = 16  # OpenCV 5 crashes on some frames with a smaller side


class FlowSource(Protocol):
    """Gives the flow between two neighbouring frames, from both sides."""

    def __call__(self, number: int, first: Frame, second: Frame, /) -> tuple[Flow, Flow]:
        """Flow from `first`, which is frame `number` of its video, to `second`, and back.

        Args:
            number: of the first frame, from 0; for sources that look the flow up.
            first: uint8 [H,W,3].
            second: the next frame, uint8 [H,W,3].

        Returns:
            Forward and backward flow, float32 [H,W,2] each.
        """
        ...


def dis(preset: int = cv2.DISOPTICAL_FLOW_PRESET_FAST, finest_scale: int | None = 0) -> FlowSource:
    """Flow by dense inverse search (Kroeger et al. 2016, in OpenCV): no weights, always the same.

    One source is for one thread.

    Args:
        preset: of OpenCV.
        finest_scale: pyramid level at which the search ends, 0 = full resolution, which carries
            pixels 0.5 dB better than the preset's own level; None = the preset's own.
    """
    method = cv2.DISOpticalFlow.create(preset)
    if finest_scale is not None:
        method.setFinestScale(finest_scale)

    def between(_number: int, first: Frame, second: Frame, /) -> tuple[Flow, Flow]:
        height, width = first.shape[:2]
        a, b = (_grey(one) for one in (first, second))
        # Its types know no way to give no flow to begin with.
        forward, backward = (
            np.asarray(method.calc(*pair, None), np.float32)[:height, :width]  # type: ignore[call-overload]
            for pair in ((a, b), (b, a))
        )
        return forward, backward

    return between


def _grey(frame: Frame) -> Frame:
    """In grey, [H,W], with repeated edges where a side is too short for DIS."""
    grey = np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
    below, beside = (max(0, DIS_LEAST_PIXELS - side) for side in grey.shape)
    return np.pad(grey, ((0, below), (0, beside)), mode="edge") if below or beside else grey
