"""Converts a variable frame rate to a constant one, as ffmpeg's fps filter does. Pure."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import floor
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Times(NamedTuple):
    """Time and duration of a frame; None where the container does not say."""

    start: Fraction | None
    """Seconds."""
    duration: Fraction | None
    """Seconds."""


def at_constant_rate(frames: Iterable[tuple[T, Times]], rate: Fraction) -> Iterator[tuple[T, int]]:
    """Yield frames with how often each is shown at `rate` frames per second, without dropped ones.

    Each frame takes the nearest place of the constant rate, counted from the first frame, and stays
    until the next one's place; of several frames at one place the last is shown. Frames without
    times follow each other. At its own rate each frame of a video is shown once.
    """
    held: T | None = None
    first: Fraction | None = None
    place = end = free = 0
    for frame, times in frames:
        if first is None:
            first = times.start
        following = place + 1 if held is not None else 0
        if times.start is not None and first is not None:
            following = _nearest((times.start - first) * rate)
        if held is not None and following > free:
            yield held, following - free
            free = following
        held, place, end = frame, following, following + 1
        if times.duration and times.start is not None and first is not None:
            end = _nearest((times.start + times.duration - first) * rate)
    if held is not None and place >= free:
        # A last frame that is shown too shortly for a place is kept: containers often do not know.
        yield held, max(1, end - free)


def _nearest(value: Fraction) -> int:
    """Round to the nearest whole number, halves away from zero."""
    return floor(value + Fraction(1, 2)) if value >= 0 else -floor(-value + Fraction(1, 2))
