"""What to fill in a video: holes from a picture, a folder of pictures, a video or a box.

Legend: `H`, `W` pixels; a mask is uint8 [H,W], nonzero = hole.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, UnidentifiedImageError

from data_pipeline.door import UserError
from mlops import video
from mlops.video import VideoFacts

Mask = NDArray[np.uint8]

_BOX = re.compile(r"-?\d+(,-?\d+){3}")
_LOSSY = (".jpg", ".jpeg")
_PICTURES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", *_LOSSY)
_LOSSY_THRESHOLD = 127  # lossy black is not quite black: hole is what is brighter than this
# Reach of bicubic resizing in pixels of the smaller frame: known pixels nearer to the hole than
# this have been mixed with what was in it.
_BICUBIC_REACH = 2


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of a video, in order."""

    each: Iterator[Mask]
    """One for each frame; without end when all frames have the same."""
    same: bool
    """One mask for all frames."""


def masks_for(mask: str, facts: VideoFacts) -> Masks:
    """The masks of a video.

    Args:
        mask: a box `x,y,width,height`, a picture, a folder of pictures, or a video.
        facts: the video they are for.

    Raises:
        UserError: at once, when count or size do not fit, or there is no such mask.
    """
    if _BOX.fullmatch(mask):
        return Masks(itertools.repeat(_box(mask, facts)), same=True)
    path = Path(mask)
    if path.is_dir():
        return Masks(_folder(path, facts), same=False)
    if not path.exists():
        raise UserError(
            f"mask {mask!r} is not there: give a picture, a folder, a video, or x,y,width,height"
        )
    if path.suffix.lower() in _PICTURES:
        return Masks(itertools.repeat(_picture(path, facts)), same=True)
    return Masks(_video(path, facts), same=False)


def shrink(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask at another size (width, height) in which no hole pixel is lost.

    A pixel is hole where any hole pixel falls in it, or so near that bicubic resizing has mixed
    what was in the hole into it. The result is 0 or 1; the same array when the size is the same.
    """
    if (mask.shape[1], mask.shape[0]) == size:
        same: Mask = (mask != 0).astype(np.uint8)
        return same
    share = Image.fromarray((mask != 0).astype(np.float32))  # mode F: small shares stay above 0
    touched = np.asarray(share.resize(size, Image.Resampling.BOX)) > 0
    wide = Image.fromarray(touched.astype(np.uint8)).filter(
        ImageFilter.MaxFilter(2 * _BICUBIC_REACH + 1)
    )
    grown: Mask = np.array(wide, dtype=np.uint8)
    return grown


def _box(text: str, facts: VideoFacts) -> Mask:
    x, y, width, height = map(int, text.split(","))
    inside = x >= 0 and y >= 0 and x + width <= facts.width and y + height <= facts.height
    if width < 1 or height < 1 or not inside:
        raise UserError(
            f"box {text} does not lie in the {facts.width}x{facts.height} "
            f"pixels of {facts.path}: give x,y,width,height in pixels"
        )
    mask = np.zeros((facts.height, facts.width), np.uint8)
    mask[y : y + height, x : x + width] = 1
    return mask


def _picture(path: Path, facts: VideoFacts) -> Mask:
    try:
        with Image.open(path) as image:
            values = np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"mask {path} cannot be read as a picture: {error}") from error
    _check_size(path, values.shape[1], values.shape[0], facts)
    return _hole(values, 0 if path.suffix.lower() not in _LOSSY else _LOSSY_THRESHOLD)


def _folder(path: Path, facts: VideoFacts) -> Iterator[Mask]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _PICTURES)
    _check_count(path, len(files), facts)
    for file in files:
        with Image.open(file) as image:
            _check_size(file, *image.size, facts)
    return (_picture(file, facts) for file in files)


def _video(path: Path, facts: VideoFacts) -> Iterator[Mask]:
    found = video.facts_of(path)
    _check_count(path, found.frames, facts)
    _check_size(path, found.width, found.height, facts)
    return (_hole(frame, _LOSSY_THRESHOLD) for frame in video.read(path))


def _hole(values: NDArray[np.uint8], threshold: int) -> Mask:
    """Mask [H,W] of the pixels of a picture [H,W,3] with any channel above a threshold."""
    above: Mask = np.any(values > threshold, axis=2).astype(np.uint8)
    return above


def _check_count(path: Path, count: int, facts: VideoFacts) -> None:
    if count == facts.frames:
        return
    # Packets may be more than frames (edit lists): decode before saying no.
    frames = video.count(facts.path)
    masks = count if path.is_dir() else video.count(path)
    if masks != frames:
        raise UserError(
            f"mask {path} has {masks} frames, video {facts.path} has {frames}: "
            "give one mask for each frame, or one picture for all"
        )


def _check_size(path: Path, width: int, height: int, facts: VideoFacts) -> None:
    if (width, height) != (facts.width, facts.height):
        raise UserError(
            f"mask {path} is {width}x{height}, video {facts.path} is "
            f"{facts.width}x{facts.height}: give masks of the video's size"
        )
