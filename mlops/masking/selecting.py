"""A box or clicks on one frame -> the mask of what they mean, without weights (GrabCut).

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W], True = the object. Columns
`x` and rows `y` count from 0 at the upper left.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""Left, top, and behind the last column and row: x0, y0, x1, y1."""
Point = tuple[int, int, bool]
"""x, y, and whether it is on the object."""

_ROUNDS = 5  # of GrabCut; more change nothing that could be measured
_SEED = 0  # of OpenCV's k-means, so that the same marks give the same mask
_DOT = 0.01  # radius of what a click says for sure, as a share of the frame's shorter side
_NEAR = 0.3  # reach of a click where no box is given, likewise


def from_box(frame: Frame, box: Box) -> Mask:
    """Mask of what a box was drawn around.

    Raises:
        UserError: the box has no pixel, or does not lie in the frame.
    """
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise UserError(
            f"box {x0},{y0} to {x1},{y1} does not lie in the frame of {width}x{height} pixels: "
            "give left, top, right and bottom inside of it, right and bottom beyond left and top"
        )
    guess = np.full((height, width), cv2.GC_BGD, np.uint8)
    guess[y0:y1, x0:x1] = cv2.GC_PR_FGD
    found = grab_cut(frame, guess)
    return found if found.any() else guess == cv2.GC_PR_FGD


def from_points(frame: Frame, points: Sequence[Point]) -> Mask:
    """Mask of what was clicked on; points that are not on the object push it away.

    Raises:
        UserError: a point is outside the frame, or none is on the object.
    """
    height, width = frame.shape[:2]
    for x, y, _ in points:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f"point {x},{y} is outside the frame of {width}x{height} pixels: give x from 0 to "
                f"{width - 1} and y from 0 to {height - 1}"
            )
    if not any(on for _, _, on in points):
        raise UserError("no point is on the object: give at least one that is")
    side = min(height, width)
    guess = np.full((height, width), cv2.GC_BGD, np.uint8)
    for radius, values in (
        (round(_NEAR * side), (cv2.GC_PR_FGD, None)),
        (max(1, round(_DOT * side)), (cv2.GC_FGD, cv2.GC_BGD)),
    ):
        for x, y, on in points:
            value = values[0] if on else values[1]
            if value is not None:
                cv2.circle(guess, (x, y), radius, value, -1)
    found = grab_cut(frame, guess)
    _, parts = cv2.connectedComponents(found.astype(np.uint8))
    clicked = {int(parts[y, x]) for x, y, on in points if on}
    return found & np.isin(parts, [*clicked])


def grab_cut(frame: Frame, guess: NDArray[np.uint8], rounds: int = _ROUNDS) -> Mask:
    """Cut a guess along the edges of the picture.

    Args:
        frame: uint8 [H,W,3].
        guess: uint8 [H,W] of `cv2.GC_*`.
        rounds: of GrabCut.
    """
    certain = guess == cv2.GC_FGD
    possible = certain | (guess == cv2.GC_PR_FGD)
    if not possible.any() or possible.all():
        return np.asarray(
            possible, np.bool_
        )  # colours of one side only: there is nothing to tell apart
    cv2.setRNGSeed(_SEED)
    models = np.zeros((2, 1, 65))
    cut, *_ = cv2.grabCut(
        frame, guess.copy(), (0, 0, 0, 0), models[0], models[1], rounds, cv2.GC_INIT_WITH_MASK
    )
    return np.asarray((cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD), np.bool_)
