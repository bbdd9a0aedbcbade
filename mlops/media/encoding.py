"""Footage out: a video file with the times, colours and tracks of its source, or a folder of PNGs.

What is written appears under its name when it is complete; an exception leaves nothing behind.

Legend: `H`, `W` pixels as displayed; a frame is uint8 RGB [H,W,3], a deep one uint16 of 16 bits.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias, final

import av
import numpy as np
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.cli.command import UserError, say
from data_pipeline.sources import decoding
from data_pipeline.storage import disk
from mlops.media import dropped
from mlops.media.dropped import STEREO
from mlops.media.encoders import FORMATS, Encoding, tags
from mlops.media.files import real
from mlops.media.from_rgb import FromRgb
from mlops.media.pasting import deepened
from mlops.media.tracks import MATROSKA, Tracks, copy_metadata, stated_metadata
from mlops.media.video import NO_COLOUR, Timed, VideoFacts

Frame = NDArray[np.uint8]
Deep = NDArray[np.uint16]

_Packet: TypeAlias = "Packet[Any]"
# SVT-AV1 writes to the terminal past ffmpeg's log; 0 = only what ends the process.
os.environ.setdefault("SVT_LOG", "0")


@final
class VideoWriter:
    """Writes a video beside its final name; a context manager.

    In 4:2:0 frames of odd width or height get one more column or row, a copy of the last one. The
    video begins at 0, with everything that is copied in step.

    Args:
        path: with one of the known suffixes.
        like: times, colours, depth, shape of pixels and tracks are kept; size may differ.
        encoding: checked for the path.
        size: width and height as displayed, where they are not those of `like`.
        audio: copy the sound.
        alone: copy no track and no chapter, and nothing that is said of the file.

    Raises:
        UserError, DiskFull: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        like: VideoFacts,
        encoding: Encoding,
        *,
        size: tuple[int, int] | None = None,
        audio: bool = True,
        alone: bool = False,
    ) -> None:
        self._path, self._like = real(path), like
        self._suffix = path.suffix.lower()
        width, height = size or (like.width, like.height)
        look = dropped.look(like)
        self._chosen = encoding.chosen(self._suffix, like, look.mastering)
        self._tags = tags(like, self._chosen, (width, height))
        self._from_rgb = FromRgb(
            self._chosen.pixels, self._tags.matrix, full_range=self._tags.declared.full_range
        )
        self._time_base = like.time_base or 1 / like.fps
        self._origin = like.start
        self._last: int | None = None
        self._written = 0
        self.left_out: list[str] = []
        """Describe the properties of the source that are not kept."""
        self._waiting: _Packet | None = None
        self._copied: Iterator[_Packet] = iter(())
        with disk.writing(self._path), ExitStack() as stack:
            self._part = disk.part_beside(self._path)
            stack.callback(self._part.unlink, missing_ok=True)
            # Else ffmpeg takes what is before a colon for a protocol.
            container = av.open(f"file:{self._part}", "w", format=FORMATS[self._suffix])
            self._container = stack.enter_context(container)
            self._stream = self._video(width, height)
            if not alone:
                self.left_out += dropped.lost(like, look, self._chosen)
                if not dropped.of_pictures(like):
                    self._copy(stack, audio=audio)
            with self._writing():
                self._container.start_encoding()  # writes the header, before anybody works for it
            self._stack = stack.pop_all()

    def _video(self, width: int, height: int) -> VideoStream:
        chosen, colour = self._chosen, self._tags.declared
        stream = self._container.add_stream(chosen.encoder, self._like.fps, chosen.options)
        assert isinstance(stream, VideoStream)
        stream.width = width + (width % 2 if chosen.yuv else 0)
        stream.height = height + (height % 2 if chosen.yuv else 0)
        stream.pix_fmt = chosen.pixels
        stream.time_base = stream.codec_context.time_base = self._time_base
        context = stream.codec_context
        context.sample_aspect_ratio = self._like.aspect
        context.color_range = ColorRange.JPEG if colour.full_range else ColorRange.MPEG
        if chosen.yuv:
            context.colorspace = colour.matrix
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        if chosen.encoder == "libx265" and self._suffix in (".mp4", ".mov"):
            context.codec_tag = "hvc1"  # players by Apple show no other
        return stream

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Name what keeps the file from being written: the disk, or what it is to hold."""
        try:
            with disk.writing(self._path):
                yield
        except av.FFmpegError as error:
            raise UserError(
                f"{self._path} cannot hold {self._stream.width}x{self._stream.height} by "
                f"{self._chosen.encoder}, or a track of {self._like.path} ({error.strerror}): "
                "give OUT as .mkv, another --codec, or --no-audio"
            ) from error

    def _copy(self, stack: ExitStack, *, audio: bool) -> None:
        """Everything of the source that is not its frames."""
        source = stack.enter_context(decoding.opened(self._like.path))
        video = decoding.video_stream(source)
        self._stream.metadata.update(stated_metadata(video.metadata))
        self._stream.disposition = video.disposition
        path = self._like.path
        tracks = Tracks(path, source, video, self._container, self._suffix, audio=audio)
        if tracks.start is not None:
            self._origin = min(self._origin, tracks.start)
        self.left_out += tracks.lost()
        self.left_out += copy_metadata(source, self._container, self._suffix, self._origin)
        self._copied = tracks.packets(self._origin)
        if video.metadata.get("alpha_mode") == "1":  # beside the frames, in WebM
            self.left_out.append("alpha")
        if "stereo_mode" in video.metadata and self._suffix in MATROSKA and STEREO in self.left_out:
            self.left_out.remove(STEREO)  # it is Matroska's own word

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, timed: Timed) -> None:
        """Encode the next frame, and the sound up to it.

        Raises:
            UserError, DiskFull: it cannot be written.
        """
        picture = self._picture(timed)
        picture.pts, picture.time_base = self._at(timed.pts), self._time_base
        with self._writing():
            self._mux_copied(picture.pts * self._time_base)
            self._container.mux(self._stream.encode(picture))

    def _picture(self, timed: Timed) -> av.VideoFrame:
        """The frame in the pixels that are encoded."""
        deep = self._chosen.depth > 8
        values: NDArray[Any] = timed.frame
        if deep:
            values = deepened(timed.frame) if timed.deep is None else timed.deep
        height, width = values.shape[:2]
        if self._chosen.yuv and (height % 2 or width % 2):
            values = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = self._from_rgb.frame(values)
        declared = self._tags.declared
        if self._chosen.yuv:
            picture.colorspace = declared.matrix
        picture.color_primaries, picture.color_trc = declared.primaries, declared.transfer
        return picture

    def _at(self, pts: int | None) -> int:
        """When a frame is shown, in time bases: later than the one before, whatever was said."""
        if pts is None:
            at = round(self._written / self._like.fps / self._time_base)
        else:
            at = pts - round(self._origin / self._time_base)
        self._last = at if self._last is None else max(at, self._last + 1)
        self._written += 1
        return self._last

    def _mux_copied(self, until: Fraction | None) -> None:
        """Copy packets in step with the frames: written apart, the muxer would buffer them all."""
        while True:
            if self._waiting is None:
                self._waiting = next(self._copied, None)
            packet = self._waiting
            if packet is None:
                return
            assert packet.dts is not None
            if until is not None and packet.dts * packet.time_base > until:
                return
            self._container.mux(packet)
            self._waiting = None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            with suppress(OSError, av.FFmpegError):
                self._stack.close()
            return
        with self._writing(), self._stack:
            self._mux_copied(None)
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._part.replace(self._path)


@final
class PictureWriter:
    """Writes `00000.png` … into a folder that appears when all are there; a context manager.

    Deep frames become PNGs of 16 bits.

    Args:
        path: of the folder.
        like: what the colours of deep frames mean.

    Raises:
        UserError, DiskFull: it cannot be made.
    """

    def __init__(self, path: Path, like: VideoFacts | None = None) -> None:
        self._path = real(path)
        self._part = disk.part_beside(self._path)
        self._colour = like.colour if like else NO_COLOUR
        self.left_out = dropped.lost_in_pictures(like) if like else []
        """Describe the properties of the source that are not kept."""
        self._encoder: VideoCodecContext | None = None
        self._written = 0
        with disk.writing(self._path):
            self._part.mkdir()

    def __enter__(self) -> "PictureWriter":
        return self

    def write(self, timed: Timed) -> None:
        """Write the next frame.

        Raises:
            UserError, DiskFull: it cannot be written.
        """
        file = self._part / f"{self._written:05d}.png"
        with disk.writing(self._path):
            if timed.deep is None:
                Image.fromarray(timed.frame).save(file)
            else:
                file.write_bytes(self._deep(timed.deep))
        self._written += 1

    def _deep(self, pixels: Deep) -> bytes:
        """Encode as a PNG; Pillow writes none with 16 bits."""
        if self._encoder is None:
            self._encoder = VideoCodecContext.create("png", "w")
            self._encoder.height, self._encoder.width = pixels.shape[:2]
            self._encoder.pix_fmt, self._encoder.time_base = "rgb48be", Fraction(1)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format="rgb48be")
        frame.color_primaries, frame.color_trc = self._colour.primaries, self._colour.transfer
        return b"".join(bytes(packet) for packet in self._encoder.encode(frame))

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                with disk.writing(self._path):
                    self._part.rename(self._path)
        finally:
            shutil.rmtree(self._part, ignore_errors=True)


Writer = VideoWriter | PictureWriter


def print_not_kept(writer: Writer) -> None:
    """Say in a line what of its source a writer does not keep."""
    if writer.left_out:
        say(f"not kept: {', '.join(writer.left_out)}")
