"""Footage in: a video file or a folder of pictures as frames in display order, upright.

Legend: `H`, `W` pixels as displayed; a frame is uint8 RGB [H,W,3].
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data_pipeline.door import UserError

Frame = NDArray[np.uint8]

PICTURES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")

# Without full chroma swscale takes a short cut that darkens RGB by more than one level.
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_TO_RGB = _EXACT | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True, slots=True)
class Colour:
    """How YUV numbers mean colours: numbers of H.273; 2 = not said."""

    matrix: int
    primaries: int
    transfer: int


NO_COLOUR = Colour(2, 2, 2)


@dataclass(frozen=True, slots=True)
class Audio:
    """One track of sound."""

    index: int
    """Of the stream in the file."""
    codec: str
    language: str
    """"" = not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """What footage is, found by reading its packets but decoding only one frame."""

    path: Path
    width: int
    height: int
    frames: int
    """Packets of the video stream; it may decode to fewer frames (edit lists, damage)."""
    fps: Fraction
    """On average."""
    colour: Colour = NO_COLOUR
    rotation: int = 0
    """By which what is stored is turned when it is displayed, degrees counterclockwise."""
    time_base: Fraction | None = None
    """Seconds that times of frames are counted in; None = frame n is shown at n / fps."""
    audio: tuple[Audio, ...] = ()


@dataclass(frozen=True, slots=True)
class Timed:
    """A frame and when it is shown."""

    frame: Frame
    pts: int | None
    """In time bases; None = right after the one before."""


def facts_of(path: Path, fps: Fraction | None = None) -> VideoFacts:
    """Look at a video file or a folder of pictures.

    Args:
        path: of either.
        fps: of a folder's pictures, which do not say it.

    Raises:
        UserError: not there, or no video.
    """
    if path.is_dir():
        return _facts_of_folder(path, fps)
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise UserError(f"{path} has a video stream without a frame in it")
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise UserError(f"{path} does not say its frame rate: write it anew with one")
        container.seek(0)
        packets = sum(1 for packet in container.demux(stream) if packet.size)
        rotation = round(first.rotation / 90) * 90
        turned = rotation % 180 != 0
        return VideoFacts(
            path=path,
            width=first.height if turned else first.width,
            height=first.width if turned else first.height,
            frames=packets,
            fps=Fraction(rate.numerator, rate.denominator),
            colour=Colour(first.colorspace, first.color_primaries, first.color_trc),
            rotation=rotation,
            time_base=stream.time_base,
            audio=tuple(
                Audio(one.index, one.codec_context.name, one.language or "")
                for one in container.streams.audio
            ),
        )


def read(path: Path) -> Iterator[Frame]:
    """The frames of footage in display order, upright, one at a time.

    Raises:
        UserError: not there, no video, or it cannot be decoded.
    """
    return (timed.frame for timed in read_timed(path))


def read_timed(path: Path) -> Iterator[Timed]:
    """`read`, with the time of each frame."""
    if path.is_dir():
        for file in pictures_of(path):
            yield Timed(read_picture(file), None)
        return
    reformatter = VideoReformatter()
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            rgb = reformatter.reformat(frame, format="rgb24", interpolation=_TO_RGB)
            stored = np.asarray(rgb.to_ndarray(), dtype=np.uint8)
            yield Timed(turned(stored, round(frame.rotation / 90) * 90), frame.pts)


def turned(frame: Frame, degrees: int) -> Frame:
    """The frame turned counterclockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(frame, degrees // 90)) if degrees % 360 else frame


def count(path: Path) -> int:
    """How many frames footage decodes to."""
    if path.is_dir():
        return len(pictures_of(path))
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        return sum(1 for _ in container.decode(stream))


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder, in order of their names."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in PICTURES)


def read_picture(path: Path) -> Frame:
    """A picture as a frame.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{path} cannot be read as a picture: {error}") from error


def _facts_of_folder(path: Path, fps: Fraction | None) -> VideoFacts:
    files = pictures_of(path)
    if not files:
        raise UserError(f"{path} has no pictures: give a folder of frames as PNG or JPEG")
    sizes: dict[tuple[int, int], Path] = {}
    for file in files:
        try:
            with Image.open(file) as image:
                sizes.setdefault(image.size, file)
        except (OSError, UnidentifiedImageError) as error:
            raise UserError(f"{file} cannot be read as a picture: {error}") from error
    if len(sizes) > 1:
        (a, first), (b, second) = list(sizes.items())[:2]
        raise UserError(
            f"frames of two sizes in {path}: {first.name} is {a[0]}x{a[1]}, {second.name} is "
            f"{b[0]}x{b[1]}"
        )
    ((width, height),) = sizes
    assert fps is not None
    return VideoFacts(path=path, width=width, height=height, frames=len(files), fps=fps)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file at its first video stream; what FFmpeg says becomes one line."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} has no video stream")
            yield container, container.streams.video[0]
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{path} cannot be read as a video: {error.strerror}") from error
