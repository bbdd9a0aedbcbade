"""Video files in and out: frames in display order, H.264 out with the same frames and fps.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3].
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import final

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from data_pipeline.door import UserError

Frame = NDArray[np.uint8]

# Without full chroma swscale takes a short cut that darkens RGB by more than one level.
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_TO_RGB = _EXACT | Interpolation.FULL_CHR_H_INT
_FROM_RGB = _EXACT | Interpolation.FULL_CHR_H_INP
_MATRICES = (1, 4, 5, 6, 7, 9)  # numbers of H.273 that swscale has a matrix for


@dataclass(frozen=True, slots=True)
class Colour:
    """How YUV numbers mean colours: numbers of H.273; 2 = not said."""

    matrix: int
    primaries: int
    transfer: int


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a video file is, found by reading its packets but decoding only one frame."""

    path: Path
    width: int
    height: int
    frames: int
    """Packets of the video stream; it may decode to fewer frames (edit lists, damage)."""
    fps: Fraction
    colour: Colour


def facts_of(path: Path) -> VideoFacts:
    """Look at a video file.

    Raises:
        UserError: not there, or no video.
    """
    with _opened(path) as (container, stream):
        first = next(container.decode(stream), None)
        if first is None:
            raise UserError(f"{path} has a video stream without a frame in it")
        fps = stream.average_rate or stream.guessed_rate
        if not fps:
            raise UserError(f"{path} does not say its frame rate: write it anew with one")
        container.seek(0)
        packets = sum(1 for packet in container.demux(stream) if packet.size)
        return VideoFacts(
            path=path,
            width=first.width,
            height=first.height,
            frames=packets,
            fps=Fraction(fps.numerator, fps.denominator),
            colour=Colour(first.colorspace, first.color_primaries, first.color_trc),
        )


def read(path: Path) -> Iterator[Frame]:
    """Decode a video in display order, one frame at a time.

    Raises:
        UserError: not there, no video, or it cannot be decoded.
    """
    reformatter = VideoReformatter()
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            rgb = reformatter.reformat(frame, format="rgb24", interpolation=_TO_RGB)
            yield np.asarray(rgb.to_ndarray(), dtype=np.uint8)


def count(path: Path) -> int:
    """How many frames a video decodes to."""
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        return sum(1 for _ in container.decode(stream))


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


@final
class H264Writer:
    """Writes an MP4 beside its final name and gives it that name when it is complete.

    A context manager: left by an exception, it leaves nothing behind. Frames of odd width or
    height get one more column or row (4:2:0 needs even sizes), a copy of the last one.
    """

    def __init__(self, path: Path, like: VideoFacts, *, crf: int) -> None:
        """Begin a file with the fps and colours of `like`; `crf` is x264's, 0 (best) to 51."""
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._reformatter = VideoReformatter()
        self._matrix = like.colour.matrix if like.colour.matrix in _MATRICES else None
        self._time_base = 1 / like.fps
        self._written = 0
        self._container = av.open(str(self._part), "w", format="mp4")
        self._stream = self._container.add_stream("libx264", like.fps, {"crf": str(crf)})
        self._stream.width = like.width + like.width % 2
        self._stream.height = like.height + like.height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._time_base
        context = self._stream.codec_context
        context.color_range = ColorRange.MPEG
        if self._matrix is not None:
            context.colorspace = self._matrix
            context.color_primaries = like.colour.primaries
            context.color_trc = like.colour.transfer

    def __enter__(self) -> "H264Writer":
        return self

    def write(self, frame: Frame) -> None:
        """Encode the next frame, uint8 [H,W,3]."""
        height, width = frame.shape[:2]
        even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(even, format="rgb24"),
            format="yuv420p",
            interpolation=_FROM_RGB,
            dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG,
        )
        picture.pts = self._written
        picture.time_base = self._time_base
        self._container.mux(self._stream.encode(picture))
        self._written += 1

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if kind is None:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)
