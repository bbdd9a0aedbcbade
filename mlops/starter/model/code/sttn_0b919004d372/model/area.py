"""Rectangles of a frame: where the hole is, and the part of the frame to work on.

Pixels; an area may reach over the right and lower edges of the frame, where it is filled up by
reflection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Sides = Sequence[int]
"""Height and width."""


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle of pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The first row below."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column to the right."""
        return self.left + self.width

    def cut(self, image: Tensor) -> Tensor:
        """[..., H, W] -> [..., height, width], a view."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def within(self, other: "Area") -> "Area":
        """The same pixels, counted from the corner of another area."""
        return Area(self.top - other.top, self.left - other.left, self.height, self.width)

    def contains(self, other: "Area") -> bool:
        """True when all pixels of another area are in this one."""
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.bottom >= other.bottom
            and self.right >= other.right
        )


def hole_of(mask: Tensor) -> Area | None:
    """The smallest area around the hole of a mask [H, W]; None without a hole."""
    hole = mask != 0
    rows, columns = hole.any(dim=1).nonzero(), hole.any(dim=0).nonzero()
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    return Area(top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left)


def union(areas: Sequence[Area]) -> Area:
    """The smallest area around all of some."""
    top, left = min(one.top for one in areas), min(one.left for one in areas)
    bottom, right = max(one.bottom for one in areas), max(one.right for one in areas)
    return Area(top, left, bottom - top, right - left)


def whole_area(frame: Sides, units: Sides) -> Area:
    """The frame, made larger until the units divide its sides."""
    return Area(0, 0, *(_rounded_up(side, unit) for side, unit in zip(frame, units, strict=True)))


def area_around(hole: Area, frame: Sides, crop: Sides, units: Sides, last: Area | None) -> Area:
    """The part of the frame to work on: the hole and what lies around it.

    Args:
        hole: all holes of a window.
        frame: sides of the frame.
        crop: least sides of the area; a quarter of them is kept free around the hole.
        units: the sides are multiples of these.
        last: the area before, which stays as long as half of that margin is left around the hole,
            so that a hole that moves a little does not shake what is seen.
    """
    if last is not None and last.contains(_with_margin(hole, frame, [side // 8 for side in crop])):
        return last
    wide = _with_margin(hole, frame, [side // 4 for side in crop])
    top, height = _span(wide.top, wide.height, frame[0], crop[0], units[0])
    left, width = _span(wide.left, wide.width, frame[1], crop[1], units[1])
    return Area(top, left, height, width)


def taken(image: Tensor, area: Area) -> Tensor:
    """[H, W, ...] -> [height, width, ...], reflected beyond the edges of the image."""
    rows = _reflected(area.top, area.height, image.shape[0])
    columns = _reflected(area.left, area.width, image.shape[1])
    return image[rows][:, columns]


def _with_margin(area: Area, frame: Sides, margin: Sides) -> Area:
    top, left = max(0, area.top - margin[0]), max(0, area.left - margin[1])
    bottom = min(frame[0], area.bottom + margin[0])
    right = min(frame[1], area.right + margin[1])
    return Area(top, left, bottom - top, right - left)


def _span(start: int, length: int, frame: int, crop: int, unit: int) -> tuple[int, int]:
    """Start and length along one side: around the middle, inside the frame where it fits."""
    side = min(_rounded_up(max(length, crop), unit), _rounded_up(frame, unit))
    middle = start + (length - side) // 2
    return max(0, min(middle, frame - side)), side


def _rounded_up(side: int, unit: int) -> int:
    return -(-side // unit) * unit


def _reflected(start: int, length: int, side: int) -> Tensor:
    """Pixel numbers `start` to `start + length`, mirrored at the first and the last pixel."""
    period = max(1, 2 * (side - 1))
    numbers = torch.arange(start, start + length) % period
    return torch.minimum(numbers, period - numbers)
