"""Hole masks of one video: a pure function of a seed.

The shapes of the official STTN generator (`core/utils.py: create_random_shape_with_random_motion`):
a closed curve of 6 to 8 cubic Bezier pieces around a circle, in a box of a third of the frame up to
all of it, standing still or on a random walk. There matplotlib draws the curve and its margins
shrink it; here the same curve with the same margins is filled row by row by its winding number.

Legend: T frames, H rows, W columns. 1 = hole, 0 = known.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from data_pipeline import draws

STATIONARY = "stationary"
MOVING = "moving"
KINDS = (STATIONARY, MOVING)
GENERATOR = "free-form-1"  # part of a data set's settings: another generator, another name

# The official generator knows one frame size; speeds are in its pixels.
OFFICIAL_HEIGHT, OFFICIAL_WIDTH = 240, 432
# Where matplotlib puts the axes in its figure: left, width, bottom, height as shares.
_LEFT, _WIDE, _BOTTOM, _TALL = 0.125, 0.775, 0.11, 0.77
# Official shapes are drawn with soft edges on 640x480 and scaled; only fully black pixels count,
# which takes about this many pixels of that drawing from each side.
_DRAWN_WIDTH, _DRAWN_HEIGHT, _SOFT_EDGE = 640, 480, 0.7
_POINTS_PER_PIECE = 10
_MOST_TRIES = 100


def variant_seed(seed: int, video: str, variant: int) -> int:
    """Seed of one mask variant of one video: independent of order and of other videos.

    Below 2^53, so that every JSON reader keeps it.
    """
    digest = hashlib.sha256(f"mask:{seed}:{video}:{variant}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def variant_kinds(stationary: int, moving: int) -> tuple[str, ...]:
    """Kinds of a video's variants, taken in turn so that any first few hold both."""
    both = min(stationary, moving)
    rest = (STATIONARY,) * (stationary - both) + (MOVING,) * (moving - both)
    return KINDS * both + rest


def mask_sequence(kind: str, seed: int, frames: int, height: int, width: int) -> NDArray[np.uint8]:
    """Masks of a whole video, uint8 [T, H, W] of 0 and 1 (1 = hole)."""
    return np.stack(list(mask_frames(kind, seed, frames, height, width)))


def mask_frames(
    kind: str, seed: int, frames: int, height: int, width: int
) -> Iterator[NDArray[np.uint8]]:
    """The same one frame at a time, uint8 [H, W]: a long video needs no more memory."""
    shape = _shape(seed, height, width)
    room = height - shape.shape[0], width - shape.shape[1]
    for row, column in _places(kind, seed, frames, room, (height, width)):
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[row : row + shape.shape[0], column : column + shape.shape[1]] = shape
        yield mask


def _shape(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A random shape, cut to its bounding box, uint8 [<= H, <= W]."""
    for attempt in range(_MOST_TRIES):
        tall, wide, pieces, spread, *radii = draws.words(seed, "mask shape", attempt, 4 + 25)
        box_height = _between(tall, height // 3, height - 1)
        box_width = _between(wide, width // 3, width - 1)
        curve = _curve(_between(pieces, 6, 8), _between(spread, 6, 8) / 10, radii)
        filled = _fill(curve, box_height, box_width)
        rows, columns = np.nonzero(filled)
        if not len(rows):
            continue
        # The official crop leaves out the last row and column.
        shape = filled[rows.min() : rows.max(), columns.min() : columns.max()]
        if shape.any():
            return shape
    raise AssertionError(f"no shape after {_MOST_TRIES} tries in {width}x{height}")


def _curve(pieces: int, spread: float, words: Sequence[int]) -> NDArray[np.float64]:
    """A closed Bezier curve around the unit circle as points [N, 2] (x, y), in 0 .. 1 of its axes.

    Args:
        pieces: cubic pieces; each has its two ends on the curve and two control points.
        spread: how far a point may be from the circle, as a share of its radius.
        words: random words, one a point at least.
    """
    count = 3 * pieces + 1
    angles = np.linspace(0, 2 * np.pi, count)
    radii = np.array([2 * spread * draws.unit(word) + 1 - spread for word in words[:count]])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]
    points[-1] = points[0]
    t = np.arange(_POINTS_PER_PIECE)[:, None] / _POINTS_PER_PIECE
    weights = np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])  # [4, N, 1]
    corners = np.stack([points[k::3][:pieces] for k in range(4)])  # [4, pieces, 2]
    curve = np.einsum("kni,kpj->pnj", weights, corners).reshape(-1, 2)
    low, high = points.min() * 1.1, points.max() * 1.1
    axes: NDArray[np.float64] = (curve - low) / (high - low)
    return axes


def _fill(curve: NDArray[np.float64], height: int, width: int) -> NDArray[np.uint8]:
    """Fill the curve, drawn in a figure of [height, width] with matplotlib's margins."""
    x = (_LEFT + _WIDE * curve[:, 0]) * width
    y = (1 - _BOTTOM - _TALL * curve[:, 1]) * height
    soft_x = _SOFT_EDGE * width / _DRAWN_WIDTH
    soft_y = _SOFT_EDGE * height / _DRAWN_HEIGHT
    # A pixel is in the hole when all four corners of its soft edge are inside.
    inside = np.ones((height, width), dtype=bool)
    for shift_y in (-soft_y, soft_y):
        for shift_x in (-soft_x, soft_x):
            inside &= _winding(x + shift_x, y + shift_y, height, width) != 0
    return inside.astype(np.uint8)


def _winding(
    x: NDArray[np.float64], y: NDArray[np.float64], height: int, width: int
) -> NDArray[np.int64]:
    """How often the closed polygon runs around the centre of each pixel, [height, width]."""
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    centres = np.arange(height)[:, None] + 0.5  # [H, 1], against edges [N]
    down = (y <= centres) & (centres < next_y)
    up = (next_y <= centres) & (centres < y)
    row, edge = np.nonzero(down | up)
    share = (row + 0.5 - y[edge]) / (next_y[edge] - y[edge])
    crossing = x[edge] + share * (next_x[edge] - x[edge])
    # Counts for every pixel whose centre is right of the crossing.
    first = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    turns = np.zeros((height, width + 1), dtype=np.int64)
    np.add.at(turns, (row, first), np.where(down[row, edge], 1, -1))
    return np.cumsum(turns, axis=1)[:, :width]


def _places(
    kind: str, seed: int, frames: int, room: tuple[int, int], size: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Row and column of the shape's corner in each frame; `room` is the largest of both."""
    # One step of the official walk in pixels of this frame size.
    scale = size[0] / OFFICIAL_HEIGHT, size[1] / OFFICIAL_WIDTH
    at_row, at_column, fast, turn = draws.words(seed, "mask start", 0, 4)
    row: float = draws.below(at_row, room[0] + 1)
    column: float = draws.below(at_column, room[1] + 1)
    # The official `uniform(3)` is a draw between 3 and numpy's default high of 1.
    speed, angle = 3 - 2 * draws.unit(fast), 2 * math.pi * draws.unit(turn)
    for frame in range(frames):
        yield round(row), round(column)
        if kind == STATIONARY:
            continue
        row += int(speed * math.cos(angle)) * scale[0]
        column += int(speed * math.sin(angle)) * scale[1]
        a, b, c, d, e, f, g = draws.words(seed, "mask motion", frame, 7)
        speed += 1.5 * draws.normal(a, b)
        angle += 0.25 * draws.normal(c, d)
        if not (0 <= row <= room[0] and 0 <= column <= room[1]):
            # No bounce: a new velocity, from the place where it left.
            speed, angle = abs(1.5 * draws.normal(e, f)), 2 * math.pi * draws.unit(g)
        row, column = min(max(row, 0), room[0]), min(max(column, 0), room[1])


def _between(word: int, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return low + draws.below(word, high - low + 1)
