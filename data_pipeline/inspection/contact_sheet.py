"""Draws a contact sheet: a row per video, a column per frame, a colour per mask variant.

Legend: T frames, V mask variants, H rows, W columns.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from data_pipeline.read.reader import DataSet, Video

VIDEOS, FRAMES = 12, 8  # maxima of a sheet

_TILE_WIDTH = 224  # pixels, like all that follows
_GAP = 6
_MARGIN = 20
_LINE = 24
_SMALL, _TEXT, _TITLE = 12, 15, 20
_OUTLINE = 2
_TINT = 0.18  # share of a variant's colour inside of its outline
_INK, _PALE, _PAPER = (32, 33, 36), (110, 114, 120), (255, 255, 255)
# After Okabe and Ito, whose colours the colour-blind can tell apart; the next variants begin again.
_COLOURS = (
    (86, 180, 233),
    (235, 94, 20),
    (240, 228, 66),
    (0, 200, 140),
    (224, 121, 187),
    (255, 255, 255),
)


@dataclass(frozen=True, slots=True)
class Strip:
    """Row of the sheet: frames of one video."""

    title: str
    """Text above the frames."""
    frames: tuple[int, ...]
    """Their numbers."""
    pictures: NDArray[np.uint8]
    """[T, H, W, 3]."""
    masks: dict[str, NDArray[np.uint8]]
    """Name of a variant -> [T, H, W] of 0 and 1."""


def evenly_spaced(count: int, limit: int) -> tuple[int, ...]:
    """Choose up to `limit` evenly spaced numbers below `count`, the first and the last included."""
    return tuple(np.linspace(0, count - 1, min(count, limit)).round().astype(int).tolist())


def variant_names(video: Video) -> tuple[str, ...]:
    """Name the mask variants of a video: `moving 1`, `moving 2` ..."""
    kinds = video.mask_kinds
    return tuple(f"{kind} {kinds[:at].count(kind) + 1}" for at, kind in enumerate(kinds))


def read_strips(data: DataSet) -> list[Strip]:
    """Read some frames of some videos of every split, with all their masks."""
    videos = [video for split in data.splits for video in data.videos(split)]
    return [_read_strip(data, videos[at]) for at in evenly_spaced(len(videos), VIDEOS)]


def _read_strip(data: DataSet, video: Video) -> Strip:
    frames = evenly_spaced(video.frames, FRAMES)
    return Strip(
        title=f"{video.id}   {video.split}, {video.frames} frames",
        frames=frames,
        pictures=data.read_frames(video, frames),
        masks={
            name: data.read_masks(video, at, frames) for at, name in enumerate(variant_names(video))
        },
    )


def draw_sheet(title: str, strips: Sequence[Strip]) -> bytes:
    """Draw the sheet as PNG."""
    names = sorted({name for strip in strips for name in strip.masks})
    colours = {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(names)}
    heights = [_tile_height(strip) for strip in strips]
    columns = max((len(strip.frames) for strip in strips), default=1)
    width = max(columns * (_TILE_WIDTH + _GAP) - _GAP, 3 * _TILE_WIDTH) + 2 * _MARGIN
    top = _MARGIN + 3 * _LINE
    height = top + sum(tile + _LINE + 2 * _GAP for tile in heights) + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), title, fill=_INK, font=ImageFont.load_default(_TITLE))
    _draw_legend(draw, colours)
    for strip, tile in zip(strips, heights, strict=True):
        _draw_strip(sheet, draw, strip, top, tile, colours)
        top += tile + _LINE + 2 * _GAP
    data = io.BytesIO()
    sheet.save(data, format="PNG")
    return data.getvalue()


def _tile_height(strip: Strip) -> int:
    height: int
    width: int
    height, width = strip.pictures.shape[1:3]
    return max(1, round(_TILE_WIDTH * height / width))


def _draw_legend(draw: ImageDraw.ImageDraw, colours: dict[str, tuple[int, int, int]]) -> None:
    font = ImageFont.load_default(_TEXT)
    left, top = float(_MARGIN), _MARGIN + _TITLE + _GAP + 4
    for name, colour in colours.items():
        draw.rectangle((left, top, left + _TEXT - 1, top + _TEXT - 1), fill=colour, outline=_PALE)
        draw.text((left + _TEXT + _GAP, top - 1), name, fill=_INK, font=font)
        left += _TEXT + 5 * _GAP + draw.textlength(name, font=font)


def _draw_strip(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    strip: Strip,
    top: int,
    height: int,
    colours: dict[str, tuple[int, int, int]],
) -> None:
    draw.text((_MARGIN, top), strip.title, fill=_INK, font=ImageFont.load_default(_TEXT))
    small = ImageFont.load_default(_SMALL)
    for at, frame in enumerate(strip.frames):
        left, below = _MARGIN + at * (_TILE_WIDTH + _GAP), top + _LINE
        masks = [(mask[at], colours[name]) for name, mask in strip.masks.items()]
        sheet.paste(_tile(strip.pictures[at], masks, height), (left, below))
        label = str(frame)
        right = left + draw.textlength(label, font=small) + 7
        draw.rectangle((left, below, right, below + _SMALL + 4), fill=_INK)
        draw.text((left + 4, below + 1), label, fill=_PAPER, font=small)


def _tile(
    picture: NDArray[np.uint8],
    masks: Sequence[tuple[NDArray[np.uint8], tuple[int, int, int]]],
    height: int,
) -> Image.Image:
    """Draw one frame, [H, W, 3], with the holes of all variants tinted and outlined."""
    size = (_TILE_WIDTH, height)
    small = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    holes = [
        (np.asarray(Image.fromarray(mask * 255).resize(size)) > 127, np.array(colour))
        for mask, colour in masks
    ]
    out = np.asarray(small).astype(np.float32)
    for hole, colour in holes:
        out[hole] += _TINT * (colour - out[hole])
    for hole, colour in holes:  # above all tints
        out[hole & ~_shrunk(hole)] = colour
    return Image.fromarray(out.round().astype(np.uint8))


def _shrunk(hole: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Remove the pixels at the edge of a hole; the edge of the frame counts as one."""
    for _ in range(_OUTLINE):
        inner = np.zeros_like(hole)
        inner[1:-1, 1:-1] = (
            hole[1:-1, 1:-1] & hole[:-2, 1:-1] & hole[2:, 1:-1] & hole[1:-1, :-2] & hole[1:-1, 2:]
        )
        hole = inner
    return hole
