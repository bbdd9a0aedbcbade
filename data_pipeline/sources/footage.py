"""Reads a video file for inpainting: its properties, and its frames with their times and depth.

Decoding is that of `decoding.py`; here frames keep their times, depth and size.

Legend: `H`, `W` pixels as displayed; a frame is uint8 RGB [H,W,3].
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from data_pipeline.sources import decoding, rgb
from data_pipeline.sources.declared import Counts, check_whole, declared_by, rate_of
from data_pipeline.sources.frame_times import Times
from data_pipeline.sources.record import BadVideoError, Limits

Frame = NDArray[np.uint8]

LIMITS = Limits(min_frames=1, max_frames=10**9, max_pixels=2**27, max_frame_bytes=2**31)
_THREADS = 4  # of the decoder; each holds a frame or two
_SQUARE = Fraction(1)


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour space of YUV values: code points of H.273; 2 = unspecified."""

    matrix: int
    primaries: int
    transfer: int
    full_range: bool = False
    """0 to 255, and not 16 to 235."""


NO_COLOUR = Colour(2, 2, 2)


@dataclass(frozen=True, slots=True)
class Audio:
    """Audio track."""

    index: int
    """Index of the stream in the file."""
    codec: str
    language: str
    """"" = not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """Properties of a video, found by reading its packets and decoding some of its frames."""

    path: Path
    width: int
    """Width as displayed, in pixels of `aspect`."""
    height: int
    frames: int
    """Packets of the video stream that are to be shown; damage may leave fewer."""
    fps: Fraction
    """Average frames per second."""
    declared: int = 0
    """Frames to be shown by the header; 0 = it does not say."""
    colour: Colour = NO_COLOUR
    pixels: str = "rgb24"
    """ffmpeg's name of the stored pixel format."""
    depth: int = 8
    """Bits of a component, 8 at least."""
    alpha: bool = False
    """The stored frames have an alpha channel; it is not read."""
    aspect: Fraction = _SQUARE
    """Pixel aspect ratio (width by height) as displayed."""
    interlaced: bool = False
    """Stored as fields; frames come deinterlaced."""
    start: Fraction = Fraction(0)
    """Time of the first frame, seconds on the clock of the file."""
    time_base: Fraction | None = None
    """Unit of the times of frames, seconds; None = frame n is shown at n / fps."""
    audio: tuple[Audio, ...] = ()


@dataclass(frozen=True, slots=True)
class Timed:
    """A frame and when it is shown."""

    frame: Frame
    pts: int | None
    """Time in time bases; None = right after the frame before."""
    deep: NDArray[np.uint16] | None = None
    """RGB of 16 bits, [H,W,3]; only for footage of more than 8 bits a component."""


def facts_of(path: Path) -> VideoFacts:
    """Read the properties of a video file.

    Raises:
        BadVideoError: it is no video, its first frame cannot be decoded, or its frames are seen to
            be of several sizes.
    """
    scan = _scanned(path)
    with decoding.opened(path) as container:
        stream = decoding.video_stream(container)
        frames = decoding.progressive_frames(container, stream, LIMITS, Counts())
        first = next(frames, None)
        if first is None:
            raise BadVideoError("has a video stream without a frame in it")
        turned = rgb.is_turned(first)
        return VideoFacts(
            path=path,
            width=first.height if turned else first.width,
            height=first.width if turned else first.height,
            frames=scan.frames,
            declared=max(0, declared_by(container, stream) - scan.left_out),
            fps=rate_of(stream),
            colour=_colour(first),
            pixels=first.format.name,
            depth=rgb.depth_of(first.format),
            alpha=any(component.is_alpha for component in first.format.components),
            aspect=decoding.aspect_of(stream, turned=turned),
            interlaced=scan.interlaced,
            start=decoding.times_of(first).start or Fraction(0),
            time_base=stream.time_base,
            audio=tuple(
                Audio(one.index, one.codec_context.name, one.language or "")
                for one in container.streams.audio
                if one.codec_context
            ),
        )


def timed(path: Path) -> Iterator[Timed]:
    """Read the frames of a video file in display order, one at a time.

    Their times always grow. All frames have the depth of the first.

    Raises:
        BadVideoError: it cannot be decoded, is damaged, ends long before its header says, or its
            size changes.
    """
    seen, to_rgb = Counts(), rgb.ToRgb(threads=0)
    first: Times | None = None
    pts: int | None = None
    size, deep = (0, 0), False
    with decoding.opened(path) as container:
        stream = decoding.video_stream(container)
        declared, rate = declared_by(container, stream), rate_of(stream)
        frames = decoding.progressive_frames(container, stream, LIMITS, seen, _THREADS)
        for frame in frames:
            times = decoding.times_of(frame)
            if first is None:
                first, size = times, (frame.width, frame.height)
                deep = rgb.depth_of(frame.format) > 8
            _refuse_other_size(size, (frame.width, frame.height), seen.decoded)
            pts = _later(pts, times.start, rate, stream.time_base)
            yield Timed(to_rgb.picture(frame), pts, to_rgb.deep(frame) if deep else None)
            seen.shown = _shown(seen.shown, first, times, rate)
        check_whole(container, stream, seen, declared)


def count(path: Path) -> int:
    """Count the frames that a video file decodes to; see `timed`."""
    with decoding.opened(path) as container:
        stream = decoding.video_stream(container)
        frames = decoding.progressive_frames(container, stream, LIMITS, Counts(), _THREADS)
        return sum(1 for _ in frames)


@dataclass(slots=True)
class _Scan:
    """Result of a pass over the packets of a video stream."""

    frames: int = 0
    """Packets to be shown."""
    left_out: int = 0
    """Packets that an edit list leaves out."""
    interlaced: bool = False
    """One of the decoded frames is interlaced."""


def _scanned(path: Path) -> _Scan:
    """Read all packets, and decode the key frames, where the size may change."""
    scan, size = _Scan(), (0, 0)
    places: deque[int] = deque()
    with decoding.opened(path) as container:
        stream = decoding.video_stream(container)
        codec = stream.codec_context
        codec.thread_count, codec.skip_frame = 1, "NONKEY"
        codec.options = {"max_pixels": str(LIMITS.max_pixels)}
        try:
            for packet in container.demux(stream):
                # In an intra-only codec every packet is a key frame: the first ones must do.
                if _is_key(packet) and not (codec.codec.intra_only and any(size)):
                    places.append(scan.frames)
                    for frame in _decoded_or_none(packet):
                        scan.interlaced = scan.interlaced or frame.interlaced_frame
                        other, after = (frame.width, frame.height), places.popleft()
                        size = size if any(size) else other
                        _refuse_other_size(size, other, after)
                scan.frames += bool(packet.size) and not packet.is_discard
                scan.left_out += packet.is_discard
        except (av.FFmpegError, OSError) as error:
            raise BadVideoError(f"cannot be read after {scan.frames} frames", str(error)) from error
    return scan


def _is_key(packet: Any) -> bool:
    """Say whether a packet is a key frame, or the empty last one that flushes the decoder."""
    return bool(packet.is_keyframe or (not packet.size and packet.dts is None))


def _decoded_or_none(packet: Any) -> list[av.VideoFrame]:
    """Decode a packet; a damaged one has no frames here, its error comes when it is read."""
    try:
        return [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
    except (av.FFmpegError, OSError):
        return []


def _refuse_other_size(size: tuple[int, int], other: tuple[int, int], after: int) -> None:
    if size != other:
        (a, b), (c, d) = size, other
        raise BadVideoError(f"changes its size from {a}x{b} to {c}x{d} after {after} frames")


def _later(
    last: int | None, start: Fraction | None, rate: Fraction, base: Fraction | None
) -> int | None:
    """Return the time of the next frame in time bases; one that does not grow is replaced."""
    if base is None or (start is None and last is None):
        return None
    if start is not None:
        pts = round(start / base)  # of an own filter's time base
        if last is None or pts > last:
            return pts
    assert last is not None
    return last + max(1, round(1 / rate / base))


def _shown(shown: int, first: Times, times: Times, rate: Fraction) -> int:
    """Count the places of the constant rate that are filled up to the end of a frame."""
    if first.start is None or times.start is None:
        return shown + 1
    return max(shown, floor((times.start - first.start) * rate + Fraction(1, 2)) + 1)


def _colour(frame: av.VideoFrame) -> Colour:
    full = rgb.is_full_range(frame)
    return Colour(frame.colorspace, frame.color_primaries, frame.color_trc, full)
