"""What to fill in a video: holes from boxes, a picture, a folder of pictures or a video.

Legend: `H`, `W` pixels; a mask is uint8 [H,W], nonzero = hole.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from data_pipeline.door import UserError
from mlops import video
from mlops.video import PICTURES, VideoFacts

Mask = NDArray[np.uint8]

_NUMBER = r"-?\d+"
_BOX = rf"{_NUMBER}(?:,{_NUMBER}){{3}}(?:@\d+-\d+)?"
_BOXES = re.compile(rf"{_BOX}(?:;{_BOX})*")
_LOSSY = (".jpg", ".jpeg")
_LOSSY_THRESHOLD = 127  # lossy black is not quite black: hole is what is brighter than this
_SAME_FPS = 0.01  # of a frame rate: what two tools round differently
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


@dataclass(frozen=True, slots=True)
class Hole:
    """What is filled of one frame, and how much of the answer is taken."""

    mask: Mask
    """1 where the model fills."""
    weight: NDArray[np.float32] | None
    """[H,W], share of the answer in the result: 1 in the hole, down to 0 at the end of a soft
    edge; None = 1 wherever the model fills."""


@dataclass(frozen=True, slots=True)
class Edge:
    """What is done to masks before they are used, in this order."""

    invert: bool = False
    """Fill what is not masked."""
    dilate: int = 0
    """Pixels by which holes grow, in all directions."""
    feather: int = 0
    """Pixels around the grown hole over which the result goes over into the frame."""

    def holes(self, masks: Iterator[Mask]) -> Iterator[Hole]:
        """The holes of masks; what stays the same is worked out once."""
        last, hole = None, None
        for mask in masks:
            if hole is None or mask is not last:
                last, hole = mask, self.hole(mask)
            yield hole

    def hole(self, mask: Mask) -> Hole:
        """The hole of one mask."""
        inside = (mask == 0) if self.invert else (mask != 0)
        if (not self.dilate and not self.feather) or not inside.any():
            return Hole(inside.astype(np.uint8), None)
        away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        if not self.feather:
            return Hole((away <= self.dilate).astype(np.uint8), None)
        ramp = 1 - (away - self.dilate) / (self.feather + 1)
        weight: NDArray[np.float32] = np.clip(ramp, 0, 1).astype(np.float32)
        return Hole((weight > 0).astype(np.uint8), weight)


def masks_for(mask: str, facts: VideoFacts) -> Masks:
    """The masks of a video.

    Args:
        mask: boxes `x,y,width,height[@from-to]` with `;` between them, a picture, a folder of
            pictures, or a video.
        facts: the video they are for.

    Raises:
        UserError: at once, when count, size or fps do not fit, or there is no such mask.
    """
    if _BOXES.fullmatch(mask):
        return _boxes(mask, facts)
    path = Path(mask)
    if path.is_dir():
        return Masks(_folder(path, facts), same=False)
    if not path.exists():
        raise UserError(
            f"mask {mask!r} is not there: give a picture, a folder, a video, or boxes "
            "x,y,width,height[@from-to];…"
        )
    if path.suffix.lower() in PICTURES:
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


def _boxes(text: str, facts: VideoFacts) -> Masks:
    """Boxes for all frames, or each for its own: `from` and `to` are frames, both included."""
    boxes = [_box(one, facts) for one in text.split(";")]
    everywhere = [mask for mask, frames in boxes if frames is None]
    always: Mask = np.bitwise_or.reduce(
        [np.zeros((facts.height, facts.width), np.uint8), *everywhere]
    )
    ranges = [(mask, frames) for mask, frames in boxes if frames is not None]
    if not ranges:
        return Masks(itertools.repeat(always), same=True)

    def each() -> Iterator[Mask]:
        known: dict[tuple[int, ...], Mask] = {}
        for number in itertools.count():
            there = tuple(at for at, (_, frames) in enumerate(ranges) if number in frames)
            if there not in known:
                known[there] = np.bitwise_or.reduce([always, *(ranges[at][0] for at in there)])
            yield known[there]

    return Masks(each(), same=True)


def _box(text: str, facts: VideoFacts) -> tuple[Mask, range | None]:
    place, at, times = text.partition("@")
    x, y, width, height = map(int, place.split(","))
    inside = x >= 0 and y >= 0 and x + width <= facts.width and y + height <= facts.height
    if width < 1 or height < 1 or not inside:
        raise UserError(
            f"box {place} does not lie in the {facts.width}x{facts.height} "
            f"pixels of {facts.path}: give x,y,width,height in pixels"
        )
    mask = np.zeros((facts.height, facts.width), np.uint8)
    mask[y : y + height, x : x + width] = 1
    if not at:
        return mask, None
    first, last = map(int, times.split("-"))
    if not first <= last < facts.frames:
        raise UserError(
            f"box {text}: frames {first} to {last} are not in {facts.path}, which has frames 0 to "
            f"{facts.frames - 1}"
        )
    return mask, range(first, last + 1)


def _picture(path: Path, facts: VideoFacts) -> Mask:
    values = video.read_picture(path)
    _check_size(path, values.shape[1], values.shape[0], facts)
    return _hole(values, 0 if path.suffix.lower() not in _LOSSY else _LOSSY_THRESHOLD)


def _folder(path: Path, facts: VideoFacts) -> Iterator[Mask]:
    files = video.pictures_of(path)
    _check_count(path, len(files), facts)
    for file in files:
        with Image.open(file) as image:
            _check_size(file, *image.size, facts)
    return (_picture(file, facts) for file in files)


def _video(path: Path, facts: VideoFacts) -> Iterator[Mask]:
    found = video.facts_of(path)
    if abs(found.fps / facts.fps - 1) > _SAME_FPS:
        raise UserError(
            f"mask {path} has {float(found.fps):.4g} fps, video {facts.path} has "
            f"{float(facts.fps):.4g}: give one mask for each frame"
        )
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
