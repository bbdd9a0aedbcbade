"""Free-form hole masks of one video: a pure function of a seed.

The shapes of the official STTN generator (`core/utils.py: create_random_shape_with_random_motion`):
a closed curve of 6 to 8 cubic Bezier pieces around a circle, in a box of a third of the frame up to
all of it, static or on a random walk. There matplotlib fills the curve and draws a line
along it, and the drawing is resized to the box; here the outer edge of that line is filled row by
row by its winding number, at the size of the box. 99.5 % of the hole's pixels are the same.

Legend: T frames, H rows, W columns, N points of a curve. 1 = hole, 0 = known.
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from data_pipeline.format import draws
from data_pipeline.masks.overlays import OVERLAY

STATIC = "stationary"  # as it is stored in data sets
MOVING = "moving"
OBJECT = "object"  # made by `objects.py`
KINDS = (STATIC, MOVING, OBJECT, OVERLAY)
GENERATOR = "free-form-2"  # part of a data set's settings: another generator, another name

# The official generator knows one frame size; speeds are in its pixels.
OFFICIAL_HEIGHT, OFFICIAL_WIDTH = 240, 432
# matplotlib's drawing in pixels, and its axes there (x, y): where they begin, how far they run.
_DRAWN_HEIGHT, _DRAWN_WIDTH = 480, 640
_ORIGIN, _EXTENT = np.array([80, 427.2]), np.array([496, -369.6])
_HALF_LINE = 100 / 72  # half the width of the line along the curve: 2 points at 100 dpi
# A pixel of the mask is mixed from 2x2 pixels of the drawing and is a hole when all are black: 1
# from its centre to each side, less the sliver that may be light and still rounds to black.
_REACH = 0.9
_POINTS_PER_PIECE = 16
_MAX_TRIES = 100
_STEPS_PER_DRAW = 32


def variant_seed(seed: int, video: str, variant: int) -> int:
    """Derive the seed of one mask variant of one video: independent of order and other videos.

    Below 2^53, so that every JSON reader keeps it.
    """
    digest = hashlib.sha256(f"mask:{seed}:{video}:{variant}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def variant_kinds(static: int, moving: int, objects: int = 0, overlays: int = 0) -> tuple[str, ...]:
    """List the kinds of a video's variants, in turn, so that the first few hold every kind."""
    counts = (static, moving, objects, overlays)
    turns = range(max(counts))
    return tuple(k for turn in turns for k, n in zip(KINDS, counts, strict=True) if turn < n)


def mask_frames(
    kind: str, seed: int, frames: int, height: int, width: int
) -> Iterator[NDArray[np.uint8]]:
    """Make the masks of a video one frame at a time, uint8 [H, W] of 0 and 1 (1 = hole).

    Args:
        kind: `STATIC` or `MOVING`.
        seed: determines the shape and the walk, whatever the number of frames.
        frames: number of masks.
        height: rows of a mask.
        width: columns of a mask.
    """
    assert kind in (STATIC, MOVING), f"{kind} masks are not free-form"
    shape = _shape(seed, height, width)
    tall, wide = shape.shape
    places = _places(kind, seed, (height - tall, width - wide), (height, width))
    for row, column in itertools.islice(places, frames):
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[row : row + tall, column : column + wide] = shape
        yield mask


def _shape(seed: int, height: int, width: int) -> NDArray[np.bool_]:
    """Draw a random shape, cut to its bounding box, [<= H, <= W]."""
    for attempt in range(_MAX_TRIES):
        tall, wide, pieces, spread, *radii = draws.words(seed, "mask shape", attempt, 4 + 25)
        box_height = _between(tall, height // 3, height - 1)
        box_width = _between(wide, width // 3, width - 1)
        curve = _curve(_between(pieces, 6, 8), _between(spread, 6, 8) / 10, radii)
        filled = _fill(_outer_edge(curve), box_height, box_width)
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        if not len(rows):
            continue
        # The official crop leaves out the last row and column.
        shape = filled[rows[0] : rows[-1], columns[0] : columns[-1]]
        if shape.any():
            return shape
    raise AssertionError(f"no shape after {_MAX_TRIES} tries in {width}x{height}")


def _curve(pieces: int, spread: float, words: Sequence[int]) -> NDArray[np.float64]:
    """Draw a closed Bezier curve around a circle as points [N, 2] (x, y) of the drawing.

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
    # Both axes show the same range, a tenth more than the points have.
    low, high = points.min() * 1.1, points.max() * 1.1
    drawn: NDArray[np.float64] = _ORIGIN + _EXTENT * (curve - low) / (high - low)
    return drawn


def _outer_edge(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the outer edge of the line along a closed anticlockwise curve, points [2N, 2].

    Its corners are cut; matplotlib mitres them, which is 0.04 of a mask's pixel further out.
    """
    along = np.roll(curve, -1, axis=0) - curve
    after = along[:, ::-1] * (-1, 1) / np.hypot(*along.T)[:, None]  # normals of the edges
    before = np.roll(after, 1, axis=0)
    return (curve[:, None] + _HALF_LINE * np.stack([before, after], axis=1)).reshape(-1, 2)


def _fill(outline: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """Fill a closed outline: [rows, columns] that it spans of a [height, width] box."""
    corners = np.array([-_REACH, _REACH])
    rows = _centres(outline[:, 1], height, _DRAWN_HEIGHT)
    columns = _centres(outline[:, 0], width, _DRAWN_WIDTH)
    line, crossing, turn = _crossings(outline, (rows[:, None] + corners).ravel())
    inside = np.ones((len(rows), len(columns)), dtype=np.bool_)
    for corner in corners:
        # A crossing counts for the pixels whose corner is right of it.
        first = np.searchsorted(columns + corner, crossing)
        turns = np.zeros((2 * len(rows), len(columns) + 1), dtype=np.int8)
        np.add.at(turns.ravel(), line * turns.shape[1] + first, turn)
        # The turns of a line add up to 0, so that one running sum serves all lines.
        winding = np.cumsum(turns, dtype=np.int8).reshape(len(rows), 2, len(columns) + 1)[..., :-1]
        inside &= (winding[:, 0] != 0) & (winding[:, 1] != 0)
    return inside


def _centres(outline: NDArray[np.float64], pixels: int, drawn: int) -> NDArray[np.float64]:
    """Place the centres of a row of pixels on the drawing; keep those within the outline."""
    centres = (np.arange(pixels) + 0.5) * drawn / pixels
    within: NDArray[np.float64] = centres[(outline.min() < centres) & (centres < outline.max())]
    return within


def _crossings(
    outline: NDArray[np.float64], lines: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int8]]:
    """Find where a closed outline [N, 2] crosses the horizontal lines at these y.

    Returns:
        index of the line, x, and 1 or -1 for upwards or downwards, of each crossing.
    """
    below = outline[:, 1] <= lines[:, None]  # [lines, N]
    line, edge = np.nonzero(below != np.roll(below, -1, axis=1))
    x, y = outline[edge].T
    next_x, next_y = np.roll(outline, -1, axis=0)[edge].T
    crossing = x + (lines[line] - y) / (next_y - y) * (next_x - x)
    return line, crossing, np.where(below[line, edge], 1, -1).astype(np.int8)


def _places(
    kind: str, seed: int, room: tuple[int, int], size: tuple[int, int]
) -> Iterator[tuple[int, int]]:
    """Yield row and column of the shape's corner in each frame, endless, both up to `room`."""
    # One step of the official walk in pixels of this frame size.
    scale = size[0] / OFFICIAL_HEIGHT, size[1] / OFFICIAL_WIDTH
    at_row, at_column, fast, turn = draws.words(seed, "mask start", 0, 4)
    row: float = draws.below(at_row, room[0] + 1)
    column: float = draws.below(at_column, room[1] + 1)
    if kind == STATIC:
        yield from itertools.repeat((int(row), int(column)))
    # The official `uniform(3)` is a draw between 3 and numpy's default high of 1.
    speed, angle = 3 - 2 * draws.unit(fast), 2 * math.pi * draws.unit(turn)
    for a, b, c, d, e, f, g in _words_of_steps(seed):
        yield round(row), round(column)
        row += int(speed * math.cos(angle)) * scale[0]
        column += int(speed * math.sin(angle)) * scale[1]
        speed += 1.5 * draws.normal(a, b)
        angle += 0.25 * draws.normal(c, d)
        if not (0 <= row <= room[0] and 0 <= column <= room[1]):
            # No bounce: a new velocity, from the place where it left.
            speed, angle = abs(1.5 * draws.normal(e, f)), 2 * math.pi * draws.unit(g)
        row, column = min(max(row, 0), room[0]), min(max(column, 0), room[1])


def _words_of_steps(seed: int) -> Iterator[list[int]]:
    """Draw seven random words for each step of a walk; many steps at once is much faster."""
    for block in itertools.count():
        words = draws.word_array(seed, "mask motion", block, 7 * _STEPS_PER_DRAW)
        yield from words.reshape(-1, 7).tolist()


def _between(word: int, low: int, high: int) -> int:
    """Map a word to a whole number from low to high, both included."""
    return low + draws.below(word, high - low + 1)
