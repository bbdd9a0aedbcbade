"""One file that ffmpeg reads -> its frames as ffmpeg's own tools show them: upright, progressive.

The file is all that ffmpeg gets: it sees an unnamed stream of bytes, may open nothing else, and
only containers that carry their own frames are read (no playlists, no lists of files, no pictures).

A stream decodes to the same pixels everywhere: one thread, pinned flags of the scaler.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.container
import av.filter
import av.stream
import av.video.frame
import av.video.stream
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from data_pipeline.sources.frame_times import Times, at_constant_rate
from data_pipeline.sources.record import BadVideoError, Limits

# Containers of one file; ffmpeg's names of their readers.
_CONTAINERS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,flv,asf,ogg,rm,nut,mxf,gxf,dv,wtv,nuv,nsv,ivf,obu,"
    "av1,h261,h263,h264,hevc,vvc,vc1,dirac,cavsvideo,mjpeg,gif,apng,yuv4mpegpipe,dhav"
)
_OPEN_OPTIONS = {
    "err_detect": "explode",
    "format_whitelist": _CONTAINERS,
    "protocol_whitelist": "none",
}
_READ_BYTES = 2**20

# Default swscale differs between SIMD and plain C; with these flags it does not. Without full
# chroma it also darkens every frame by 1.5 grey levels.
_BIT_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
)
# Containers count frames that a decoder may rightly drop, at an edit or at the end: a few.
_FEWEST_OF_DECLARED = 0.95
_MOST_PACKETS_WITHOUT_FRAME = 1000  # decoders hold back a few dozen at most
_DURATION = re.compile(r"([0-9]{1,4}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,9})?)")
_Matrix = tuple[int, int, int, int]  # (a, b, c, d): x' = a x + c y, y' = b x + d y; signs only
# ffmpeg's own tools weigh a stream that is marked as default like so many pixels.
_DEFAULT_STREAM = 5_000_000


def promised(path: Path, max_frames: int) -> tuple[int, str]:
    """What a container says: number of frames, frames per second as a fraction.

    Args:
        path: of the file.
        max_frames: counting ends beyond it, where the container says neither number nor length.

    Raises:
        BadVideoError: it is no video.
    """
    with _opened(path) as container:
        stream = _video_stream(container)
        rate = _rate(stream)
        frames = stream.frames or floor(_seconds(stream) * rate)
        frames = frames or _count_packets(container, stream, max_frames)
    if frames < 1:
        raise BadVideoError("has no frames")
    return frames, f"{rate.numerator}/{rate.denominator}"


def frames(path: Path, declared: int, limits: Limits) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """The frames of a video, uint8 [h, w, 3], each with how often it is shown at the video's rate.

    Args:
        path: of the file.
        declared: frames that the container says it has.
        limits: what the video may cost.

    Raises:
        BadVideoError: it cannot be decoded, ends long before its container says, or goes beyond
            the limits.
    """
    if declared > limits.max_frames:
        raise BadVideoError(f"has {declared} frames, more than {limits.max_frames}")
    reformatter = VideoReformatter()
    seen = _Counts()
    matrix: _Matrix | None = None
    with _opened(path) as container:
        stream = _video_stream(container)
        decoded = _progressive(_decoded(container, stream, limits, seen))
        timed = ((frame, _times(frame)) for frame in decoded)
        for frame, times in at_constant_rate(timed, _rate(stream)):
            seen.shown += times
            if seen.shown > limits.max_frames:
                raise BadVideoError(f"has more than {limits.max_frames} frames")
            # Once: a frame that was asked for its side data is freed by the next garbage collection
            # only, and hundreds of them may wait for that.
            matrix = matrix or _matrix(frame)
            rgb = reformatter.reformat(frame, format="rgb24", interpolation=_BIT_EXACT, threads=1)
            yield _upright(rgb.to_ndarray().astype(np.uint8, copy=False), matrix), times
        # What was told as a length is compared as a length.
        count = seen.decoded if stream.frames else seen.shown
    if count < max(1, _FEWEST_OF_DECLARED * declared):
        raise BadVideoError(f"gives {count} frames, but its container says {declared}")


@dataclass(slots=True)
class _Counts:
    """How far the decoding of a video is."""

    decoded: int = 0
    """Frames that the decoder gave."""
    shown: int = 0
    """Frames at the constant rate."""
    waiting: int = 0
    """Packets since the last frame."""


@dataclass(slots=True)
class _Unnamed:
    """A file without a name, so that ffmpeg judges it by its bytes and finds no neighbours."""

    file: BinaryIO

    def read(self, size: int) -> bytes:
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


def _refuse(*_: Any) -> Any:
    """Stands where ffmpeg would open another file."""
    raise PermissionError("the file names other files")


@contextmanager
def _opened(path: Path) -> Iterator[av.container.InputContainer]:
    with path.open("rb") as file:
        try:
            container = av.open(
                _Unnamed(file), "r", options=_OPEN_OPTIONS, buffer_size=_READ_BYTES, io_open=_refuse
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise BadVideoError("is not a video", _reason(error)) from error
        with container:
            yield container


def _video_stream(container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """The stream that ffmpeg's own tools would take: the largest, one marked as default first."""
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover and s.codec_context]
    if not streams:
        raise BadVideoError("has no video stream")
    return max(streams, key=_weight)


def _weight(stream: av.video.stream.VideoStream) -> int:
    default = bool(stream.disposition & av.stream.Disposition.default)
    return stream.codec_context.width * stream.codec_context.height + default * _DEFAULT_STREAM


def _rate(stream: av.video.stream.VideoStream) -> Fraction:
    rate = stream.guessed_rate or stream.average_rate
    if not rate or rate < 0:
        raise BadVideoError("does not say its frame rate")
    return Fraction(rate.numerator, rate.denominator)


def _seconds(stream: av.video.stream.VideoStream) -> Fraction:
    """How long a stream is, where Matroska says it; 0 elsewhere.

    Others count their frames, or what they say as a length was guessed by ffmpeg.
    """
    parts = _DURATION.fullmatch(stream.metadata.get("DURATION", ""))
    if parts is None:
        return Fraction(0)
    hours, minutes, seconds = parts.groups()
    return (int(hours) * 60 + int(minutes)) * 60 + Fraction(seconds)


def _count_packets(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, most: int
) -> int:
    """Count what would be decoded, for containers that do not count their frames."""
    count = 0
    try:
        for packet in container.demux(stream):
            count += bool(packet.size)
            if count > most:
                break
    except (av.FFmpegError, OSError) as error:
        raise BadVideoError(f"cannot be read after {count} frames", _reason(error)) from error
    return count


def _decoded(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    limits: Limits,
    seen: _Counts,
) -> Iterator[av.VideoFrame]:
    """All frames of a stream, as they are stored."""
    codec = stream.codec_context
    # A damaged stream decodes differently with the number of threads.
    codec.thread_count = 1
    # The options of the container do not reach the decoder.
    codec.options = {"err_detect": "explode", "max_pixels": str(limits.max_pixels)}
    _check_pixels(codec.width, codec.height, limits)
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt and seen.decoded:
                raise BadVideoError(f"is damaged after {seen.decoded} frames")
            for frame in _frames_of(packet):
                _check_pixels(frame.width, frame.height, limits)
                if frame.is_corrupt:
                    raise BadVideoError(f"is damaged after {seen.decoded} frames")
                yield frame
                seen.decoded, seen.waiting = seen.decoded + 1, 0
            seen.waiting += 1
            if seen.waiting > _MOST_PACKETS_WITHOUT_FRAME:
                raise BadVideoError(
                    f"gives no frame in {seen.waiting} packets after {seen.decoded} frames"
                )
    except (av.FFmpegError, OSError) as error:
        raise BadVideoError(
            f"cannot be decoded after {seen.decoded} frames", _reason(error)
        ) from error


def _frames_of(packet: Any) -> list[av.VideoFrame]:
    # An empty packet would end the decoding; only the last one, which has no times, may.
    if not packet.size and packet.dts is not None:
        return []
    return [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise BadVideoError(f"has frames of more than {limits.max_pixels} pixels")


def _progressive(decoded: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Deinterlace, from the first frame that says it is interlaced, the frames that say so."""
    graph: av.filter.Graph | None = None
    kind: tuple[Any, ...] = ()
    for frame in decoded:
        now = (frame.width, frame.height, frame.format.name)
        if graph is not None and now != kind:
            yield from _drained(graph)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, kind = _deinterlacer(frame), now
        if graph is None:
            yield frame
        else:
            graph.vpush(frame)
            yield from _pulled(graph)
    if graph is not None:
        yield from _drained(graph)


def _deinterlacer(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, bwdif, graph.add("buffersink")).configure()
    return graph


def _drained(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    graph.vpush(None)
    yield from _pulled(graph)


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return


def _times(frame: av.VideoFrame) -> Times:
    if frame.pts is None or frame.time_base is None:
        return Times(None, None)
    duration = frame.duration * frame.time_base if frame.duration else None
    return Times(frame.pts * frame.time_base, duration)


def _matrix(frame: av.VideoFrame) -> _Matrix:
    """How the frames of a video are to be shown, as its first one says."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    matrix: Any = data  # a buffer of 3 x 3 numbers
    a, b, _, c, d = np.sign(np.frombuffer(matrix, dtype=np.int32)[:5]).tolist()
    return a, b, c, d


def _upright(frame: NDArray[np.uint8], matrix: _Matrix) -> NDArray[np.uint8]:
    """Turn and mirror a frame [h, w, 3] by a display matrix of right angles."""
    a, b, c, d = matrix
    if (a and d and not b and not c) or (b and c and not a and not d):
        if b:
            frame, a, d = frame.swapaxes(0, 1), c, b
        return np.ascontiguousarray(frame[:: d or 1, :: a or 1])
    raise BadVideoError("is turned by an angle that is no right angle")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
