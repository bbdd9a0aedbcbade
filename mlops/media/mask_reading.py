"""Masks of a video, read from what the user has: boxes, a picture, a folder of pictures, a video.

What a mask means is one rule: a pixel is hole where the mask, shown on black, is brighter than a
threshold. The threshold is 0; in files that were compressed with loss it is `LOSSY_THRESHOLD`, for
their black is not quite black.

Legend: `H`, `W` pixels as displayed; a mask is uint8 [H,W], nonzero = hole.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, ImageSequence

from data_pipeline.cli.command import UserError
from data_pipeline.sources.pictures import shown_size
from mlops.media import video
from mlops.media.files import is_there
from mlops.media.holes import Mask
from mlops.media.video import PICTURES, VideoFacts

LOSSY_THRESHOLD = 48  # of 255; ringing of JPEG and H.264 round a white hole stays below

_NUMBER = r"-?\d+"
_BOX = rf"{_NUMBER}(?:,{_NUMBER}){{3}}(?:@\d+-\d+)?"
_BOXES = re.compile(rf"{_BOX}(?:;{_BOX})*")
_RIFF_HEADER = 12  # bytes before the first chunk of a WebP file


@dataclass(frozen=True, slots=True)
class Masks:
    """The masks of a video, in order."""

    each: Iterator[Mask]
    """One for each frame; without end when all frames have the same."""
    same: bool
    """One mask for all frames."""


def masks_for(mask: str, facts: VideoFacts, threshold: int | None = None) -> Masks:
    """The masks of a video.

    Args:
        mask: boxes `x,y,width,height[@from-to]` with `;` between them, a picture, a folder of
            pictures, a picture that moves, or a video.
        facts: the video they are for.
        threshold: brightness of 255 above which a pixel is hole; by the rule above when not given.

    Raises:
        UserError: at once, when count or size do not fit, or there is no such mask.
    """
    if is_boxes(mask):
        return _boxes(mask, facts)
    path = Path(mask)
    if not is_there(path):
        raise UserError(
            f"mask {mask!r} is not there: give a picture, a folder, a video, or boxes "
            "x,y,width,height[@from-to];…"
        )
    if path.is_dir():
        return Masks(_folder(path, facts, threshold), same=False)
    if not path.is_file():
        raise UserError(f"mask {path} is a pipe or a device: give a file, a folder, or boxes")
    if path.suffix.lower() not in PICTURES:
        return Masks(_video(path, facts, threshold), same=False)
    number, _ = _header(path)
    if number > 1:
        _check_count(path, number, facts)
        return Masks(_frames_of(path, facts, threshold), same=False)
    return Masks(itertools.repeat(_picture(path, facts, threshold)), same=True)


def is_boxes(mask: str) -> bool:
    """Return True when a mask is given as boxes, and not as the name of a file."""
    return _BOXES.fullmatch(mask) is not None


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


def _folder(path: Path, facts: VideoFacts, threshold: int | None) -> Iterator[Mask]:
    files = video.pictures_of(path)
    _check_count(path, len(files), facts)
    for file in files:
        number, size = _header(file)
        if number > 1:
            raise UserError(f"mask {file} is an animation: give one picture for each frame")
        _check_size(file, *size, facts)
    return (_picture(file, facts, threshold) for file in files)


def _picture(path: Path, facts: VideoFacts, threshold: int | None) -> Mask:
    (mask,) = itertools.islice(_frames_of(path, facts, threshold), 1)
    return mask


def _frames_of(path: Path, facts: VideoFacts, threshold: int | None) -> Iterator[Mask]:
    """The masks in a picture file: one, or as many as the animation has."""
    try:
        with Image.open(path) as image:
            if threshold is None:
                threshold = LOSSY_THRESHOLD if _lossy(image, path) else 0
            for one in ImageSequence.Iterator(image):
                mask = _above(brightness(one), threshold)
                _check_size(path, mask.shape[1], mask.shape[0], facts)
                yield mask
    except OSError as error:
        raise _unreadable(path, error) from error


def _video(path: Path, facts: VideoFacts, threshold: int | None) -> Iterator[Mask]:
    found = video.facts_of(path)
    # A mask belongs to the frame of its number: rates may differ.
    _check_count(path, found.frames, facts)
    _check_size(path, found.width, found.height, facts)
    least = LOSSY_THRESHOLD if threshold is None else threshold
    return (_above(frame.max(axis=2), least) for frame in video.read(path))


def brightness(image: Image.Image) -> NDArray[np.uint8]:
    """How bright each pixel of a picture is when it is shown on black, 0 to 255, upright.

    The brightest of its channels counts. What is not black is never 0.

    Returns:
        uint8 [H,W].
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits; Pillow would clip them
        values = np.asarray(image).astype(np.float64)
        highest = 65535.0 if image.mode.startswith("I") else 1.0
        return np.ceil(np.clip(values / highest, 0, 1) * 255).astype(np.uint8)
    if image.has_transparency_data:
        values = np.asarray(image.convert("RGBA"), np.float64)
        brightest = values[..., :3].max(axis=2) * values[..., 3] / 255
        return np.asarray(np.ceil(brightest), np.uint8)
    return np.asarray(np.asarray(image.convert("RGB")).max(axis=2), np.uint8)


def _above(values: NDArray[np.uint8], threshold: int) -> Mask:
    above: Mask = (values > threshold).astype(np.uint8)
    return above


def _lossy(image: Image.Image, path: Path) -> bool:
    """Return True for a picture that was compressed with loss."""
    if image.format == "WEBP":
        return _lossy_webp(path)
    return image.format == "JPEG" or image.info.get("compression") in ("jpeg", "webp")


def _lossy_webp(path: Path) -> bool:
    """Return True when a WebP file holds a picture in its lossy format (a chunk `VP8 `)."""
    data = path.read_bytes()
    return b"VP8 " in data[_RIFF_HEADER:] and b"VP8L" not in data[_RIFF_HEADER : 2**10]


def _header(path: Path) -> tuple[int, tuple[int, int]]:
    """How many pictures a file holds, more than one in an animation, and their size as shown."""
    try:
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1)), shown_size(image)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path} cannot be read as a picture: {error}")


def _check_count(path: Path, count: int, facts: VideoFacts) -> None:
    if count == facts.frames:
        return
    # Packets may be more than frames (edit lists): decode before saying no.
    frames = video.count(facts.path)
    counted = path.is_dir() or path.suffix.lower() in PICTURES
    masks = count if counted else video.count(path)
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
