"""A box or clicks on one frame -> the mask of what they mean, without weights.

Where the camera moves, or the object does, it is what differs from the background
(`Scene.moved`); else GrabCut (Rother et al. 2004) parts it from its surroundings by colour.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3], a mask bool [H,W], True = the object. Columns
`x` and rows `y` count from 0 at the upper left.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from mlops.masking import evidence

Frame = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float32]
Box = tuple[int, int, int, int]
"""Left, top, and behind the last column and row: x0, y0, x1, y1."""
Point = tuple[int, int, bool]
"""x, y, and whether it is on the object."""

_ROUNDS = 5  # of GrabCut; more change nothing that could be measured
_SEED = 0  # of OpenCV's k-means, so that the same marks give the same mask
_MOST_GROWN = 0.02  # of the frame's shorter side, by which a mask is grown to fill its box
_LEAST_MOVED = 0.1  # of the box, from which what moved in it is the object
_LEAST_PART = 0.05  # of the largest part of what moved; smaller ones are noise
_DOT = 0.01  # radius of what a click says for sure, as a share of the frame's shorter side
_NEAR = 0.3  # reach of a click, likewise
_BESIDE = 0.03  # likewise, of one that hits just beside what moved


def from_box(frame: Frame, box: Box, moved: Numbers | None = None) -> Mask:
    """Mask of what a box was drawn around, about as generous as the box.

    Args:
        frame: uint8 [H,W,3].
        box: left and top column and row, and those behind the last.
        moved: of this frame, by `Scene.moved`, float32 [H,W]; None = one frame is all that is
            known.

    Raises:
        UserError: the box has no pixel, or does not lie in the frame.
    """
    height, width = frame.shape[:2]
    check_box(box, width, height)
    x0, y0, x1, y1 = box
    inside = np.zeros((height, width), np.bool_)
    inside[y0:y1, x0:x1] = True
    found = _moved_in(frame, inside, moved)
    if found is None:
        found = grab_cut(frame, np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8))
    if not found.any():
        return inside
    slack = _slack(found, box)
    return evidence.grown(found, min(slack, round(_MOST_GROWN * min(height, width)))) & inside


def from_points(frame: Frame, points: Sequence[Point], moved: Numbers | None = None) -> Mask:
    """Mask of what was clicked on; points that are not on the object push it away.

    Args:
        frame: uint8 [H,W,3].
        points: x, y, and whether it is on the object.
        moved: as for `from_box`.

    Raises:
        UserError: a point is outside the frame, or none is on the object.
    """
    height, width = frame.shape[:2]
    check_points(points, width, height)
    if not any(on for _, _, on in points):
        raise UserError("no point is on the object: give at least one that is")
    on, off = (
        _discs((height, width), [(x, y) for x, y, on in points if on is wanted], _DOT)
        for wanted in (True, False)
    )
    reach = _discs((height, width), [(x, y) for x, y, on in points if on], _NEAR)
    guess = np.where(reach, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    moving = _moved_in(frame, reach, moved)
    if moving is not None:
        beside = _discs((height, width), [(x, y) for x, y, on in points if on], _BESIDE)
        moving = evidence.touching(moving, beside)
        if moving.any() and not (moving & off).any():
            return moving | (on & ~off)
        guess[reach & ~moving] = cv2.GC_PR_BGD
    guess[on], guess[off] = cv2.GC_FGD, cv2.GC_BGD
    return evidence.touching(grab_cut(frame, guess), on & ~off)


def check_box(box: Box, width: int, height: int) -> None:
    """Refuse a box that does not lie in a frame (UserError)."""
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise UserError(
            f"the box from column {x0}, row {y0}, {x1 - x0} wide and {y1 - y0} high, does not lie "
            f"in the frame of {width}x{height} pixels: give one inside of it"
        )


def check_points(points: Sequence[Point], width: int, height: int) -> None:
    """Refuse points outside of a frame (UserError)."""
    for x, y, _ in points:
        if not (0 <= x < width and 0 <= y < height):
            raise UserError(
                f"point {x},{y} is outside the frame of {width}x{height} pixels: give x from 0 to "
                f"{width - 1} and y from 0 to {height - 1}"
            )


def grab_cut(frame: Frame, guess: NDArray[np.uint8]) -> Mask:
    """Cut a guess along the edges of the picture.

    Args:
        frame: uint8 [H,W,3].
        guess: uint8 [H,W] of `cv2.GC_*`.
    """
    possible = (guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)
    if not possible.any() or possible.all():
        return np.asarray(possible, np.bool_)  # colours of one side only
    cv2.setRNGSeed(_SEED)
    models = np.zeros((2, 1, 65))
    cut, *_ = cv2.grabCut(
        frame, guess.copy(), (0, 0, 0, 0), models[0], models[1], _ROUNDS, cv2.GC_INIT_WITH_MASK
    )
    return np.asarray((cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD), np.bool_)


def _moved_in(frame: Frame, inside: Mask, moved: Numbers | None) -> Mask | None:
    """What differs from the background in a part of the frame; None where it is too little."""
    if moved is None:
        return None
    found = evidence.cut(frame, evidence.moved_odds(moved, ~inside), inside) & inside
    numbers, areas = evidence.parts(found)
    found = (areas >= _LEAST_PART * areas.max())[numbers] & found
    enough = np.count_nonzero(found) >= _LEAST_MOVED * np.count_nonzero(inside)
    return np.asarray(found, np.bool_) if enough else None


def _slack(mask: Mask, box: Box) -> int:
    """Pixels between a mask and its box: the median of the sides that are not the frame's."""
    height, width = mask.shape
    x, y = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    x0, y0, x1, y1 = box
    sides = [
        space
        for space, cut_off in (
            (x[0] - x0, x0 == 0),
            (y[0] - y0, y0 == 0),
            (x1 - 1 - x[-1], x1 == width),
            (y1 - 1 - y[-1], y1 == height),
        )
        if not cut_off
    ]
    return int(np.median(sides)) if sides else 0


def _discs(size: tuple[int, int], centres: Sequence[tuple[int, int]], radius: float) -> Mask:
    """Discs around points; the radius is a share of the shorter side."""
    drawn = np.zeros(size, np.uint8)
    for centre in centres:
        cv2.circle(drawn, centre, max(1, round(radius * min(size))), 1, cv2.FILLED)
    return np.asarray(drawn, np.bool_)
