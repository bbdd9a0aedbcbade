"""Hole masks in the shape of what people put over videos: a pure function of a seed.

A line or two of subtitles at the bottom or the top, as ragged boxes around words; or a logo, a box
with round or square corners that stands in a corner of the frame or drifts through it.

Legend: H rows, W columns. 1 = hole, 0 = known.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from data_pipeline.format import draws

OVERLAY = "overlay"  # as it is stored in data sets
GENERATOR = "overlay-1"  # part of a data set's settings: another generator, another name

_SUBTITLES = 0.5  # share of the masks; the others are logos
_STANDING = 0.4  # share of the logos
_MOST_WORDS = 10

Mask = NDArray[np.uint8]


def overlay_frames(seed: int, frames: int, height: int, width: int) -> Iterator[Mask]:
    """Make the masks of a video one frame at a time, uint8 [H, W] of 0 and 1 (1 = hole).

    Args:
        seed: determines the shape and the motion, whatever the number of frames.
        frames: number of masks.
        height: rows of a mask.
        width: columns of a mask.
    """
    units = [draws.unit(word) for word in draws.words(seed, "overlay", 0, 8 + 4 * _MOST_WORDS)]
    if units[0] < _SUBTITLES:
        mask = _subtitles(units[1:], height, width)
        return (mask.copy() for _ in range(frames))
    return _logo(units[1:], frames, height, width)


def _subtitles(units: list[float], height: int, width: int) -> Mask:
    """One or two lines of words, centred."""
    lines, size, edge, top, share, *rest = units
    mask = np.zeros((height, width), np.uint8)
    tall = max(2, round(height * (0.05 + 0.08 * size)))
    at = height - round(height * (0.02 + 0.08 * edge)) - tall
    step = -round(1.3 * tall)
    if top < 0.15:
        at, step = round(height * (0.02 + 0.08 * edge)), -step
    for line in range(1 if lines < 0.6 else 2):
        words = rest[2 * _MOST_WORDS * line : 2 * _MOST_WORDS * (line + 1)]
        widths = [round(tall * (0.8 + 3 * one)) for one in words[:_MOST_WORDS]]
        gap = max(1, tall // 3)
        while len(widths) > 1 and sum(widths) + gap * len(widths) > (0.4 + 0.5 * share) * width:
            widths.pop()
        left = max(0, (width - sum(widths) - gap * (len(widths) - 1)) // 2)
        for one, taller in zip(widths, words[_MOST_WORDS:], strict=False):
            # Letters that reach below and above the others.
            up = round(0.2 * tall * taller)
            mask[max(0, at - up) : at + tall, left : left + one] = 1
            left += one + gap
        at += step
    return mask


def _logo(units: list[float], frames: int, height: int, width: int) -> Iterator[Mask]:
    """A box or an ellipse, in a corner or on its way from border to border."""
    standing, size, shape, corner, along, across, speed, heading, *_ = units
    tall = max(2, round(height * (0.06 + 0.24 * size)))
    wide = min(width - 1, max(2, round(tall * (0.7 + 2 * along))))
    part = np.ones((tall, wide), np.uint8)
    if shape < 0.4:
        y, x = ((2 * np.arange(side) + 1) / side - 1 for side in (tall, wide))
        part = (x**2 + y[:, None] ** 2 <= 1).astype(np.uint8)
    room = np.array([height - tall, width - wide])
    start = room * (across, corner)
    step = np.zeros(2)
    if standing < _STANDING:
        # Near one of the corners.
        start = room * (0.1 * across if corner < 0.5 else 1 - 0.1 * across, round(along))
    else:
        step = 0.012 * width * speed * np.array([np.sin(6.3 * heading), np.cos(6.3 * heading)])
    for frame in range(frames):
        mask = np.zeros((height, width), np.uint8)
        row, column = _reflected(start + step * frame, room)
        mask[row : row + tall, column : column + wide] = part
        yield mask


def _reflected(place: NDArray[np.float64], room: NDArray[np.int64]) -> tuple[int, int]:
    """A place that turns back at the borders, in whole pixels."""
    span = 2 * np.maximum(room, 1)
    inside = np.abs((place + room) % span - room)
    row, column = np.minimum(np.rint(inside).astype(int), room)
    return int(row), int(column)
