"""Footage out: a video file with the times, colours and sound of its source, or a folder of PNGs.

What is written appears under its name when it is complete; an exception leaves nothing behind.

Legend: `H`, `W` pixels as displayed; a frame is uint8 RGB [H,W,3].
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.door import UserError
from mlops.video import Audio, Timed, VideoFacts, turned

Frame = NDArray[np.uint8]

_SoundPacket: TypeAlias = "Packet[Any]"
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_FROM_RGB = _EXACT | Interpolation.FULL_CHR_H_INP
_MATRICES = (1, 4, 5, 6, 7, 9)  # numbers of H.273 that swscale has a matrix for
_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@dataclass(frozen=True, slots=True)
class _Codec:
    encoder: str
    pixels: str
    crf: int
    """By which it looks like its source."""
    most_crf: int
    suffixes: tuple[str, ...]


CODECS = {
    "h264": _Codec("libx264", "yuv420p", 18, 51, (".mp4", ".mov", ".mkv")),
    "hevc": _Codec("libx265", "yuv420p", 20, 51, (".mp4", ".mov", ".mkv")),
    "vp9": _Codec("libvpx-vp9", "yuv420p", 24, 63, (".webm", ".mkv", ".mp4")),
    "av1": _Codec("libsvtav1", "yuv420p", 24, 63, (".mp4", ".webm", ".mkv")),
}
# What decodes to the very RGB that was given.
_LOSSLESS = {
    ".mp4": _Codec("libx264rgb", "rgb24", 0, 0, (".mp4",)),
    ".mov": _Codec("libx264rgb", "rgb24", 0, 0, (".mov",)),
    ".mkv": _Codec("ffv1", "bgr0", 0, 0, (".mkv",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How a file is written."""

    codec: str = "h264"
    """One of `CODECS`."""
    crf: int | None = None
    """Quality, 0 = best; None = so that it looks like the source."""
    lossless: bool = False
    """Instead: what decodes to the very same RGB."""

    def check(self, suffix: str) -> None:
        """Refuse what cannot be.

        Raises:
            UserError: no such container, or it does not take the codec; crf out of range.
        """
        if suffix not in _FORMATS:
            raise UserError(
                f"OUT ends in {suffix!r}: give {', '.join(_FORMATS)}, or a name without an ending "
                "for a folder of PNGs"
            )
        if self.lossless:
            if suffix not in _LOSSLESS:
                raise UserError(
                    f"--lossless does not fit {suffix}: give OUT as {', '.join(_LOSSLESS)}, or as "
                    "a folder of PNGs"
                )
            return
        codec = CODECS[self.codec]
        if suffix not in codec.suffixes:
            fitting = [name for name, one in CODECS.items() if suffix in one.suffixes]
            raise UserError(
                f"{suffix} does not take {self.codec}: give --codec {' or '.join(fitting)}, or OUT "
                f"as {', '.join(codec.suffixes)}"
            )
        if self.crf is not None and not 0 <= self.crf <= codec.most_crf:
            raise UserError(
                f"--crf is {self.crf}: give 0 (best) to {codec.most_crf} (worst) for {self.codec}"
            )

    def chosen(self, suffix: str) -> tuple[_Codec, dict[str, str]]:
        """Encoder and its options."""
        if self.lossless:
            codec = _LOSSLESS[suffix]
            return codec, {"crf": "0"} if codec.encoder == "libx264rgb" else {}
        codec = CODECS[self.codec]
        options = {"crf": str(codec.crf if self.crf is None else self.crf)}
        if codec.encoder == "libx265":
            options["x265-params"] = "log-level=error"
        if codec.encoder == "libvpx-vp9":
            options["b"] = "0"  # else crf is only a floor
        return codec, options


def refuse_sound(audio: tuple[Audio, ...], suffix: str) -> None:
    """Sound is copied as it is, so the container must take it.

    Raises:
        UserError: it does not.
    """
    with av.open(os.devnull, "w", format=_FORMATS[suffix]) as container:
        taken = container.supported_codecs
    for number, track in enumerate(audio, start=1):
        if track.codec not in taken:
            raise UserError(
                f"audio track {number} is {track.codec}, which {suffix} does not take: give OUT as "
                ".mkv, or --no-audio"
            )


@final
class VideoWriter:
    """Writes a video beside its final name; a context manager.

    In 4:2:0 frames of odd width or height get one more column or row, a copy of the last one.

    Args:
        path: with one of the known suffixes.
        like: times, colours, rotation and sound are kept; size may differ.
        encoding: checked for the path.
        size: width and height as displayed, where they are not those of `like`.
        audio: copy the sound.
    """

    def __init__(
        self,
        path: Path,
        like: VideoFacts,
        encoding: Encoding,
        *,
        size: tuple[int, int] | None = None,
        audio: bool = True,
    ) -> None:
        self._path, self._like = path, like
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._stack = ExitStack()
        codec, options = encoding.chosen(path.suffix.lower())
        self._pixels, self._reformatter = codec.pixels, VideoReformatter()
        colour = like.colour
        self._matrix = colour.matrix if colour.matrix in _MATRICES and self._yuv else None
        container = av.open(str(self._part), "w", format=_FORMATS[path.suffix.lower()])
        self._container = self._stack.enter_context(container)
        made = self._container.add_stream(codec.encoder, like.fps, options)
        assert isinstance(made, VideoStream)
        self._stream = made
        width, height = size or (like.width, like.height)
        if like.rotation % 180:
            width, height = height, width
        self._stream.width = width + (width % 2 if self._yuv else 0)
        self._stream.height = height + (height % 2 if self._yuv else 0)
        self._stream.pix_fmt = codec.pixels
        self._time_base = like.time_base or 1 / like.fps
        self._stream.time_base = self._stream.codec_context.time_base = self._time_base
        if like.rotation:
            self._stream.set_display_rotation(like.rotation)
        context = self._stream.codec_context
        if self._yuv:
            context.color_range = ColorRange.MPEG
        if self._matrix is not None:
            context.colorspace = self._matrix
            context.color_primaries = colour.primaries
            context.color_trc = colour.transfer
        self._sound = self._copied() if audio and like.audio else iter(())
        self._waiting = next(self._sound, None)
        self._written = 0

    @property
    def _yuv(self) -> bool:
        return self._pixels.startswith("yuv")

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, timed: Timed) -> None:
        """Encode the next frame, uint8 [H,W,3], and the sound up to it."""
        stored = turned(timed.frame, -self._like.rotation)
        height, width = stored.shape[:2]
        if self._yuv and (height % 2 or width % 2):
            stored = np.pad(stored, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(stored, format="rgb24"),
            format=self._pixels,
            interpolation=_FROM_RGB,
            dst_colorspace=self._matrix,
            dst_color_range=ColorRange.MPEG if self._yuv else None,
        )
        at = round(self._written / self._like.fps / self._time_base)
        picture.pts = at if timed.pts is None else timed.pts
        picture.time_base = self._time_base
        self._mux_sound(float(picture.pts * self._time_base))
        self._container.mux(self._stream.encode(picture))
        self._written += 1

    def _copied(self) -> Iterator[_SoundPacket]:
        """Packets of the source's sound, on their way to tracks of ours."""
        source = self._stack.enter_context(av.open(str(self._like.path)))
        tracks: dict[int, AudioStream] = {}
        for stream in source.streams.audio:
            track = self._container.add_stream_from_template(stream)
            track.metadata.update(stream.metadata)
            tracks[stream.index] = track
        for packet in source.demux(list(source.streams.audio)):
            if packet.dts is not None:  # the last one of a track is empty
                packet.stream = tracks[packet.stream.index]
                yield packet

    def _mux_sound(self, until: float) -> None:
        """In step with the frames: whoever writes them apart has the muxer keep them all."""
        while self._waiting is not None:
            assert self._waiting.dts is not None
            if float(self._waiting.dts * self._waiting.time_base) > until:
                break
            self._container.mux(self._waiting)
            self._waiting = next(self._sound, None)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            with self._stack:
                if kind is None:
                    self._mux_sound(float("inf"))
                    self._container.mux(self._stream.encode(None))
            if kind is None:
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)


@final
class PictureWriter:
    """Writes `00000.png` … into a folder that appears when all are there; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._part.mkdir()
        self._written = 0

    def __enter__(self) -> "PictureWriter":
        return self

    def write(self, timed: Timed) -> None:
        """Write the next frame, uint8 [H,W,3]."""
        Image.fromarray(timed.frame).save(self._part / f"{self._written:05d}.png")
        self._written += 1

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._part.rename(self._path)
        finally:
            shutil.rmtree(self._part, ignore_errors=True)


Writer = VideoWriter | PictureWriter
