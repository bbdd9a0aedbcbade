"""Decodes a video file to the frames that ffmpeg's own tools show: upright, progressive.

ffmpeg gets nothing but the file: it sees an unnamed stream of bytes, may open nothing else, and
reads only containers that carry their own frames (no playlists, no lists of files, no pictures).

A stream decodes to the same pixels everywhere: one thread, pinned flags of the scaler.
"""

import io
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import av.stream
import av.video.frame
import av.video.stream
import numpy as np
from numpy.typing import NDArray

from data_pipeline.sources.declared import Counts, check_whole, declared_by, rate_of
from data_pipeline.sources.frame_times import Times, at_constant_rate
from data_pipeline.sources.interlacing import progressive
from data_pipeline.sources.record import BadVideoError, Limits
from data_pipeline.sources.rgb import ToRgb, is_turned

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

_MAX_PACKETS_WITHOUT_FRAME = 1000  # decoders hold back a few dozen at most
# ffmpeg's own tools weigh a stream that is marked as default like so many pixels.
_DEFAULT_STREAM = 5_000_000


def pixel_aspect(path: Path, limits: Limits) -> Fraction:
    """Return the pixel aspect ratio (width by height) of the frames as displayed.

    Raises:
        BadVideoError: it cannot be decoded.
    """
    with opened(path) as container:
        stream = video_stream(container)
        first = next(progressive_frames(container, stream, limits, Counts()), None)
        return aspect_of(stream, turned=first is not None and is_turned(first))


def aspect_of(stream: av.video.stream.VideoStream, *, turned: bool) -> Fraction:
    """Return the pixel aspect ratio as displayed; `turned`: by a quarter, see `rgb.is_turned`."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return 1 / aspect if turned else aspect


def declared(path: Path, max_frames: int) -> tuple[int, str]:
    """Return the number of frames that a container declares, and frames per second as a fraction.

    Args:
        path: path of the file.
        max_frames: limit to the counting where the container declares neither number nor length.

    Raises:
        BadVideoError: it is no video.
    """
    with opened(path) as container:
        stream = video_stream(container)
        rate = rate_of(stream)
        frames = declared_by(container, stream) or _packets(container, stream, max_frames)
    if frames < 1:
        raise BadVideoError("has no frames")
    return frames, f"{rate.numerator}/{rate.denominator}"


def frames(path: Path, declared: int, limits: Limits) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Decode frames, uint8 [h, w, 3], each with how often it is shown at the video's rate.

    Args:
        path: path of the file.
        declared: frames that the container declares.
        limits: limits on the video.

    Raises:
        BadVideoError: it cannot be decoded, ends long before the declared end, or exceeds the
            limits.
    """
    if declared > limits.max_frames:
        raise BadVideoError(f"has {declared} frames, more than {limits.max_frames}")
    seen, to_rgb = Counts(), ToRgb()
    with opened(path) as container:
        stream = video_stream(container)
        timed = ((f, times_of(f)) for f in progressive_frames(container, stream, limits, seen))
        for frame, times in at_constant_rate(timed, rate_of(stream)):
            seen.shown += times
            if seen.shown > limits.max_frames:
                raise BadVideoError(f"has more than {limits.max_frames} frames")
            yield to_rgb.picture(frame), times
        check_whole(container, stream, seen, declared)


class _Unnamed(io.BufferedReader):
    """A file without a name, so that ffmpeg judges it by its bytes and finds no neighbours.

    None of its methods is Python: PyAV would swallow a Ctrl-C that interrupts one of those.
    """

    name = "<none>"


def _refuse(*_: Any) -> Any:
    """Refuse to open another file for ffmpeg."""
    raise PermissionError("the file names other files")


@contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a file for ffmpeg, and no other file.

    Raises:
        BadVideoError: it cannot be opened, or is no container with its own frames and sound.
    """
    try:
        file = _Unnamed(io.FileIO(path))
    except OSError as error:
        raise BadVideoError("cannot be opened", _reason(error)) from error
    with file:
        try:
            container = av.open(
                file, "r", options=_OPEN_OPTIONS, buffer_size=_READ_BYTES, io_open=_refuse
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            raise BadVideoError("is not a video", _reason(error)) from error
        with container:
            yield container


def video_stream(container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """Choose the stream that ffmpeg's own tools choose: the largest, one marked as default first.

    Raises:
        BadVideoError: there is none but cover pictures.
    """
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover and s.codec_context]
    if not streams:
        raise BadVideoError("has no video stream")
    return max(streams, key=_weight)


def _weight(stream: av.video.stream.VideoStream) -> int:
    default = bool(stream.disposition & av.stream.Disposition.default)
    return stream.codec_context.width * stream.codec_context.height + default * _DEFAULT_STREAM


def _packets(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, max_packets: int
) -> int:
    """Count the packets of a stream, for containers that do not declare their frames."""
    count = 0
    try:
        for packet in container.demux(stream):
            count += bool(packet.size)
            if count > max_packets:
                break
    except (av.FFmpegError, OSError) as error:
        raise BadVideoError(f"cannot be read after {count} frames", _reason(error)) from error
    return count


def progressive_frames(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    limits: Limits,
    seen: Counts,
    threads: int = 1,
) -> Iterator[av.VideoFrame]:
    """Decode all frames of a stream that was not read yet, as they are stored, deinterlaced.

    Args:
        container: container of the stream.
        stream: stream to decode.
        limits: limits on the video.
        seen: updated with the progress of the decoding.
        threads: threads of the decoder. A damaged stream decodes differently with their number.

    Raises:
        BadVideoError: it cannot be decoded, is damaged, or exceeds the limits.
    """
    yield from progressive(_decoded(container, stream, limits, seen, threads))


def _decoded(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    limits: Limits,
    seen: Counts,
    threads: int,
) -> Iterator[av.VideoFrame]:
    """Decode all frames of a stream, as they are stored."""
    codec = stream.codec_context
    # Not by frames: then the decoders lose what they find wrong with the last few.
    codec.thread_count, codec.thread_type = threads, "SLICE"
    # The options of the container do not reach the decoder.
    codec.options = {"err_detect": "explode", "max_pixels": str(limits.max_pixels)}
    _check_pixels(codec.width, codec.height, limits)
    # AVI knows when packets come, not when their frames are shown: those come in the same order.
    places: deque[int] | None = deque() if container.format.name == "avi" else None
    try:
        for packet in container.demux(stream):
            seen.left_out += packet.is_discard
            if places is not None and packet.size and packet.dts is not None:
                places.append(packet.dts)
            if packet.is_corrupt and seen.decoded:
                raise BadVideoError(f"is damaged after {seen.decoded} frames")
            for frame in _frames_of(packet):
                _check_pixels(frame.width, frame.height, limits)
                if frame.is_corrupt:
                    raise BadVideoError(f"is damaged after {seen.decoded} frames")
                if places:
                    frame.pts = places.popleft()
                yield frame
                seen.decoded, seen.waiting = seen.decoded + 1, 0
            seen.waiting += 1
            if seen.waiting > _MAX_PACKETS_WITHOUT_FRAME:
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


def times_of(frame: av.VideoFrame) -> Times:
    """Return when a frame is shown, and for how long."""
    if frame.pts is None or frame.time_base is None:
        return Times(None, None)
    duration = frame.duration * frame.time_base if frame.duration else None
    return Times(frame.pts * frame.time_base, duration)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
