"""Interprets the numbers in names of pictures: order, step, and missing ones. Pure."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

_DIGITS = re.compile(r"([0-9]+)")
_LISTED = 5  # missing numbers that a line names

_NaturalKey: TypeAlias = "tuple[tuple[int, int, str], ...]"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers of pictures, ascending."""

    all: tuple[int, ...]

    @property
    def step(self) -> int:
        """Most common step between two numbers; the smallest of several."""
        steps = Counter(b - a for a, b in pairwise(self.all))
        return min(steps, key=lambda step: (-steps[step], step), default=1)

    @property
    def missing(self) -> list[int]:
        """Numbers that are missing between the first and the last."""
        step = self.step
        return [n for a, b in pairwise(self.all) for n in range(a + step, b, step)]

    def in_words(self) -> str:
        """Describe the numbers: `1 to 12, 7 is missing`."""
        said = f"{self.all[0]} to {self.all[-1]}"
        if self.step > 1:
            said += f" in steps of {self.step}"
        missing = self.missing
        if not missing:
            return said
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        verb = "is" if len(missing) == 1 else "are"
        return f"{said}, {', '.join(map(str, missing[:_LISTED]))}{more} {verb} missing"


def numbers_of(names: Sequence[str]) -> Numbers | None:
    """Find the numbers at the ends of names of pictures, given without suffixes.

    None where there are none, or other parts of the names count too.
    """
    found = [_DIGITS.findall(name) for name in names]
    if not found or not all(found):
        return None
    numbers = tuple(sorted({int(digits[-1]) for digits in found}))
    return Numbers(numbers) if len(numbers) == len(found) else None


def natural(name: str) -> _NaturalKey:
    """Make a key for natural sorting: runs of digits compare as numbers."""
    parts = (part for part in _DIGITS.split(name) if part)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts)
