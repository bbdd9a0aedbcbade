"""The camera's motion, and what in a frame moves otherwise.

A homography takes each frame to the next one. Neighbours brought into line by it show the same
background: where a frame differs from most of them, something moves by itself.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3]; a homography is float64 [3,3], (x, y, 1) of
one frame -> of another.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
Numbers = NDArray[np.float32]
Homography = NDArray[np.float64]

OFFSETS = (5, 9, 14, 20, 28, 40)
"""Frames from a frame to those that it is compared with, on both sides: near ones for what is
fast, far ones for what is slow and would cover itself in near ones."""

UNKNOWN = np.float32(np.nan)

_QUANTILE = (
    0.4  # of the neighbours: the background is seen in most of them, the object's trail in few
)
_LEVELS = 255  # more than any difference of two colours can be
_CORNERS = 600  # points by which the camera's motion is found
_CORNER_QUALITY = 0.005
_INLIER_PX = 1.5
_LEAST_INLIERS = 12
_FARTHEST = 0.5  # of the longer side, that a corner of the frame can go; beyond it is a mistake
_SLACK = np.ones((3, 3), np.uint8)  # a pixel of a neighbour may be this far from where it should be


@final
class Camera:
    """Finds the camera's motion of a video, and what moves otherwise.

    Args:
        frames: uint8 [H,W,3], of one size.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = frames
        self._next: dict[int, Homography | None] = {}  # 9 numbers a frame

    def between(self, one: int, other: int) -> Homography | None:
        """Homography from a frame to another; None where the picture gives no hold, or is cut."""
        if one > other:
            back = self.between(other, one)
            return None if back is None else np.asarray(np.linalg.inv(back), np.float64)
        whole: Homography = np.eye(3)
        for number in range(one, other):
            if number not in self._next:
                self._next[number] = motion_between(self._frames[number], self._frames[number + 1])
            step = self._next[number]
            if step is None:
                return None
            whole = step @ whole
        return whole

    def moved(self, number: int) -> Numbers:
        """How far a frame's pixels differ from the background, in levels of 0..255.

        Returns:
            float32 [H,W]; `UNKNOWN` where no neighbour shows the place.
        """
        frame = self._frames[number]
        seen = [
            _difference(frame, self._frames[other], motion)
            for other in (number + sign * offset for offset in OFFSETS for sign in (-1, 1))
            if 0 <= other < len(self._frames)
            and (motion := self.between(other, number)) is not None
        ]
        if not seen:
            return np.full(frame.shape[:2], UNKNOWN, np.float32)
        ranked = np.sort(np.stack(seen), axis=0)  # [neighbours,H,W]; not shown = NaN, last
        shown = np.count_nonzero(~np.isnan(ranked), axis=0)
        at = np.maximum(np.ceil(_QUANTILE * shown).astype(np.intp) - 1, 0)
        return np.asarray(np.take_along_axis(ranked, at[np.newaxis], axis=0)[0], np.float32)


def displacement(motion: Homography, height: int, width: int) -> Numbers:
    """How far each pixel goes under a homography: float32 [H,W,2], (x, y)."""
    at = places(height, width)
    there = cv2.perspectiveTransform(at.reshape(1, -1, 2), motion).reshape(at.shape)
    return np.asarray(there - at, np.float32)


@lru_cache(maxsize=2)
def places(height: int, width: int) -> Numbers:
    """The place of each pixel: float32 [H,W,2], (x, y)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y], axis=-1)


def motion_between(one: Frame, other: Frame) -> Homography | None:
    """The camera's motion between two neighbouring frames; None where there is no hold."""
    grey, next_grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (one, other))
    apart = max(3, min(grey.shape) // 40)
    corners = cv2.goodFeaturesToTrack(grey, _CORNERS, _CORNER_QUALITY, apart)
    if corners is None:
        return None
    # Its types know no way to give no places to begin with.
    moved, found, _ = cv2.calcOpticalFlowPyrLK(grey, next_grey, corners, None)  # type: ignore[call-overload]
    kept = found.ravel() == 1
    if np.count_nonzero(kept) < _LEAST_INLIERS:
        return None
    motion, inliers = cv2.findHomography(corners[kept], moved[kept], cv2.RANSAC, _INLIER_PX)
    if motion is None or np.count_nonzero(inliers) < _LEAST_INLIERS:
        return None
    height, width = grey.shape
    ends = np.array([[[0, 0], [width, 0], [0, height], [width, height]]], np.float32)
    way = np.abs(cv2.perspectiveTransform(ends, motion) - ends).max()
    return np.asarray(motion, np.float64) if way < _FARTHEST * max(grey.shape) else None


def _difference(frame: Frame, other: Frame, motion: Homography) -> Numbers:
    """How far a frame is outside of what a neighbour shows at the place and one pixel around it."""
    size = frame.shape[1], frame.shape[0]
    aligned = cv2.warpPerspective(other, motion, size)
    shown = cv2.warpPerspective(np.full(other.shape[:2], _LEVELS, np.uint8), motion, size)
    darkest, brightest = cv2.erode(aligned, _SLACK), cv2.dilate(aligned, _SLACK)
    apart = np.maximum(cv2.subtract(darkest, frame), cv2.subtract(frame, brightest)).max(axis=2)
    return np.where(shown == _LEVELS, apart, UNKNOWN).astype(np.float32)
