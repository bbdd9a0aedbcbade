"""Static metadata of high dynamic range: the display a film was graded on, and its light levels.

SMPTE ST 2086 and CTA-861.3, as encoders take them. ffmpeg has them as structs of rationals.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np

_DISPLAY, _LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"


class _Display(NamedTuple):
    """Chromaticities as x, y; luminances in cd/m2."""

    red: tuple[Fraction, Fraction]
    green: tuple[Fraction, Fraction]
    blue: tuple[Fraction, Fraction]
    white: tuple[Fraction, Fraction]
    min_luminance: Fraction
    max_luminance: Fraction


@dataclass(frozen=True, slots=True)
class Mastering:
    """Mastering metadata of a frame; at least one of the two."""

    display: _Display | None
    light: tuple[int, int] | None
    """Brightest pixel and brightest frame on average, cd/m2."""

    def x264(self) -> str:
        """For x264-params."""
        return self._params("mastering-display", "cll")

    def x265(self) -> str:
        """For x265-params."""
        return self._params("master-display", "max-cll")

    def svt(self) -> str:
        """For svtav1-params: plain numbers there."""
        parts = []
        if self.display:
            parts.append(f"mastering-display={_written(self.display, 1, 1, '.6g')}")
        if self.light:
            parts.append("content-light={},{}".format(*self.light))
        return ":".join(parts)

    def _params(self, display: str, light: str) -> str:
        parts = []
        if self.display:
            parts.append(f"{display}={_written(self.display, 50000, 10000, '.0f')}")
        if self.light:
            parts.append(f"{light}={self.light[0]},{self.light[1]}")
        return ":".join(parts)


def mastering_of(frame: av.VideoFrame) -> Mastering | None:
    """Read the mastering metadata of a frame; None without any."""
    display = _display(_numbers(frame, _DISPLAY))
    numbers = _numbers(frame, _LIGHT)
    light = None if numbers is None else (int(numbers[0]), int(numbers[1]))
    return Mastering(display, light) if display or light else None


def _numbers(frame: av.VideoFrame, kind: str) -> Any:
    data: Any = frame.side_data.get(kind)
    return None if data is None else np.frombuffer(data, np.int32)


def _display(numbers: Any) -> _Display | None:
    """Three primaries and the white point, lowest and highest luminance, where all are given."""
    if numbers is None or not numbers[20] or not numbers[21]:
        return None
    pairs = numbers[:20].reshape(10, 2).tolist()
    red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y, lowest, highest = (
        Fraction(one, other or 1) for one, other in pairs
    )
    return _Display(
        (red_x, red_y), (green_x, green_y), (blue_x, blue_y), (white_x, white_y), lowest, highest
    )


def _written(display: _Display, colour: int, luminance: int, form: str) -> str:
    def pair(one: Fraction, other: Fraction, unit: int) -> str:
        return f"({float(one * unit):{form}},{float(other * unit):{form}})"

    points = (("G", display.green), ("B", display.blue), ("R", display.red), ("WP", display.white))
    colours = "".join(f"{name}{pair(*point, colour)}" for name, point in points)
    return f"{colours}L{pair(display.max_luminance, display.min_luminance, luminance)}"
