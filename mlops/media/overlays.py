"""Overlays that are burnt into frames: a subtitle, and a logo that drifts. Pure.

All sizes follow the shorter side of the frame, so that 96x64 and 1920x1080 look alike.

Legend: `H`, `W` pixels of a frame, `h`, `w` of the part of it that something covers; frames uint8
RGB [H,W,3]; masks uint8 [H,W], 255 = hole.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Frame = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
FontOfSize = Callable[[int], Font]
"""Size in pixels -> font."""

MIN_SIDE = 32  # pixels of a frame, below which no letter can be read
LETTERS = (255, 255, 255)
HOLE = 255

_FINE = 4  # parts of a pixel in which all is drawn, and in which the logo moves

_TEXT = 0.055  # size of letters, as a share of the shorter side
_LEAST_TEXT = 9  # pixels; in small frames letters are larger, so that they can be read
_SMALLEST_TEXT = 7  # pixels, down to which letters shrink where a text is too long
_LINE = 1.2  # from line to line, sizes of letters
_OUTLINE = 0.08  # of the size of letters
_WIDEST = 0.92  # share of the frame that a line may take
_MARGIN = 0.05  # to the edge of the frame, as a share of its shorter side

_LOGO = 0.15  # diameter, as a share of the shorter side
_LEAST_LOGO = 9  # pixels
_CROSSING_S = 7.0  # from one side of the frame to the other
_START = 0.12  # where it is at first, as a share of that way
_WAVE_S = 5.0  # up and down
_WAVE = 0.16  # height of that, as a share of the frame's
_BLUE, _WHITE, _ORANGE = (22, 64, 148), (250, 250, 250), (244, 140, 30)


@dataclass(frozen=True, slots=True)
class Overlay:
    """Something that covers a part of a frame."""

    left: int
    """First column of that part."""
    top: int
    """First row."""
    colour: NDArray[np.float32]
    """[h,w,3], 0..255, each pixel times its cover."""
    cover: NDArray[np.float32]
    """[h,w], 0..1: share of it in what is seen."""
    hole: NDArray[np.bool_]
    """[h,w]: what a person masks to have it removed."""

    def lay(self, frame: Frame, mask: Mask) -> None:
        """Burn it into a frame and its hole into the mask, in place."""
        rows = slice(self.top, self.top + self.hole.shape[0])
        columns = slice(self.left, self.left + self.hole.shape[1])
        below = frame[rows, columns] * (1 - self.cover[..., np.newaxis])
        frame[rows, columns] = np.round(below + self.colour)
        mask[rows, columns][self.hole] = HOLE


def grown_px(width: int, height: int) -> int:
    """Pixels by which holes are larger than what is seen: room for the blur of a codec."""
    return max(2, round(min(width, height) / 100))


def subtitle(text: str, width: int, height: int, font_of_size: FontOfSize) -> Overlay | None:
    """A text in one or two lines at the bottom, white with a black outline.

    The hole is the box of each line, grown: as tools that find subtitles mask them.

    Args:
        text: words; any white space parts them.
        width: of the frame, pixels.
        height: likewise.
        font_of_size: letters are drawn larger than they are shown, so hinting moves none of them.

    Returns:
        None when it does not fit even in the smallest letters.
    """
    side = min(width, height)
    for size in range(max(_LEAST_TEXT, round(_TEXT * side)), _SMALLEST_TEXT - 1, -1):
        font = font_of_size(_FINE * size)
        lines = _lines(text.split(), font, _FINE * _WIDEST * width)
        if lines:
            return _drawn(lines, font, size, width, height)
    return None


def logo(number: int, fps: float, width: int, height: int, opacity: float) -> Overlay:
    """An emblem that drifts steadily from side to side in the upper part of the frame.

    The hole is its disc, grown.

    Args:
        number: of the frame, from 0.
        fps: frames a second: its path is one of time.
        width: of the frame, pixels.
        height: likewise.
        opacity: 1 hides what is behind it.
    """
    side, grown = min(width, height), grown_px(width, height)
    across = max(_LEAST_LOGO, round(_LOGO * side))
    margin = max(round(_MARGIN * side), grown)
    seconds = number / fps
    way = 1 - abs(1 - (_START + seconds / _CROSSING_S) % 2)  # 0..1 and back
    wave = (1 - math.cos(2 * math.pi * seconds / _WAVE_S)) / 2
    # The emblem's left and top edge, in fine parts of a pixel.
    x = round(_FINE * (margin + way * (width - 2 * margin - across - 1)))
    y = round(_FINE * (margin + wave * _WAVE * height))
    edge = across + 1 + 2 * grown  # of the part that is covered, one more for what moves in a pixel
    left, top = (_FINE * grown + at % _FINE for at in (x, y))
    fine = np.zeros((_FINE * edge, _FINE * edge, 4), np.float32)
    fine[top : top + _FINE * across, left : left + _FINE * across] = _emblem(_FINE * across)
    pixels = np.float32(opacity) * cv2.resize(fine, (edge, edge), interpolation=cv2.INTER_AREA)
    cover = pixels[..., 3]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown + 1, 2 * grown + 1))
    hole = cv2.dilate((cover > 0).astype(np.uint8), disc) != 0
    return Overlay(x // _FINE - grown, y // _FINE - grown, pixels[..., :3], cover, hole)


def missing(text: str, font: Font) -> str:
    """The characters of a text that a font has no letter for, each once."""
    nothing = b"", bytes(font.getmask("\uffff"))
    known = {one for one in text if one.isspace() or bytes(font.getmask(one)) not in nothing}
    return "".join(one for one in dict.fromkeys(text) if one not in known)


def _lines(words: Sequence[str], font: Font, max_width: float) -> tuple[str, ...]:
    """The words in one line, or in two as alike as can be; nothing where they are too long."""
    whole = [(" ".join(words),)]
    halves = [(" ".join(words[:at]), " ".join(words[at:])) for at in range(1, len(words))]

    def longest(lines: tuple[str, ...]) -> float:
        return max(font.getlength(line) for line in lines)

    for ways in (whole, halves):
        best = min(ways, key=longest, default=None)
        if best and longest(best) <= max_width:
            return best
    return ()


def _drawn(lines: Sequence[str], font: Font, size: int, width: int, height: int) -> Overlay:
    grown, outline = grown_px(width, height), max(1, round(_OUTLINE * size))
    last = height - round(_MARGIN * min(width, height)) - size // 4  # baseline, above descenders
    letters, cover = np.zeros((2, height, width), np.float32)
    hole = np.zeros((height, width), np.bool_)
    for number, line in enumerate(reversed(lines)):
        baseline = last - round(number * _LINE * size)
        # The rows from well above ascenders to well below descenders.
        rows = slice(max(0, baseline - 2 * size), min(height, baseline + size))
        page = width, rows.stop - rows.start
        thin, thick = (
            _ink(line, font, stroke, baseline - rows.start, page) for stroke in (0, outline)
        )
        letters[rows] = np.maximum(letters[rows], thin)
        cover[rows] = np.maximum(cover[rows], thick)
        above, below = _ends(thick.max(axis=1), grown)
        left, right = _ends(thick.max(axis=0), grown)
        hole[max(0, rows.start + above) : rows.start + below, max(0, left) : right] = True
    rows, columns = (slice(*_ends(hole.max(axis=axis), 0)) for axis in (1, 0))
    colour = letters[rows, columns, np.newaxis] * np.array(LETTERS, np.float32)
    return Overlay(columns.start, rows.start, colour, cover[rows, columns], hole[rows, columns])


def _ink(
    line: str, font: Font, outline: int, baseline: int, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Share of ink in each pixel of a line in the middle of a page of (width, height): [h,w]."""
    page = Image.new("L", (_FINE * size[0], _FINE * size[1]))
    at = _FINE * size[0] / 2, _FINE * baseline
    draw = ImageDraw.Draw(page)
    draw.text(at, line, fill=255, font=font, anchor="ms", stroke_width=_FINE * outline)
    return np.asarray(page.reduce(_FINE), np.float32) / np.float32(255)


def _ends(there: NDArray[Any], grown: int) -> tuple[int, int]:
    """From the first that is not 0 to behind the last, and some more on both sides."""
    (places,) = np.nonzero(there)
    return int(places[0]) - grown, int(places[-1]) + 1 + grown


@cache
def _emblem(across: int) -> NDArray[np.float32]:
    """A disc with a ring and an arrow: [across,across,4], colour times cover, and cover."""
    emblem = Image.new("RGBA", (across, across))
    draw = ImageDraw.Draw(emblem)
    end = across - 1
    draw.ellipse((0, 0, end, end), fill=(*_WHITE, 255))
    rim = round(0.07 * across)
    draw.ellipse((rim, rim, end - rim, end - rim), fill=(*_BLUE, 255))
    middle, reach = end / 2, 0.27 * across
    arrow = [(middle - 0.5 * reach, middle - reach), (middle - 0.5 * reach, middle + reach)]
    draw.polygon([*arrow, (middle + 1.1 * reach, middle)], fill=(*_WHITE, 255))
    draw.arc((2 * rim, 2 * rim, end - 2 * rim, end - 2 * rim), 120, 240, (*_ORANGE, 255), rim)
    drawn = np.asarray(emblem, np.float32)
    cover = drawn[..., 3:] / np.float32(255)
    return np.concatenate((drawn[..., :3] * cover, cover), axis=2)
