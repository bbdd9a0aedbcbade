"""Reads what a container declares of its video stream, and compares it with what was decoded."""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import floor

import av
import av.container
import av.video.stream

from data_pipeline.sources.record import BadVideoError

# Containers count frames that a decoder may rightly drop, at an edit or at the end: a few.
_MIN_SHARE_OF_DECLARED = 0.95
_DURATION = re.compile(r"([0-9]{1,4}):([0-9]{2}):([0-9]{2}(?:\.[0-9]{1,9})?)")


@dataclass(slots=True)
class Counts:
    """Progress of the decoding of a video."""

    decoded: int = 0
    """Frames that the decoder gave."""
    left_out: int = 0
    """Frames that an edit list of the container leaves out."""
    shown: int = 0
    """Frames at the constant rate."""
    waiting: int = 0
    """Packets since the last frame."""


def rate_of(stream: av.video.stream.VideoStream) -> Fraction:
    """Return the frames per second.

    Raises:
        BadVideoError: the container does not say it.
    """
    rate = stream.guessed_rate or stream.average_rate
    if not rate or rate < 0:
        raise BadVideoError("does not say its frame rate")
    return Fraction(rate.numerator, rate.denominator)


def declared_by(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> int:
    """Return the frames that a container declares, or that fill its length; 0 = unknown."""
    if _counts_frames(container, stream):
        return stream.frames
    return max(0, floor(_seconds(container, stream) * rate_of(stream)))


def _counts_frames(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> bool:
    # AVI counts in its time bases, which may be finer than a frame.
    return bool(stream.frames) and container.format.name != "avi"


def _seconds(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> Fraction:
    """Return the length of a stream in seconds by its header, else 0: ffmpeg would guess."""
    base = stream.time_base or Fraction(0)
    if container.format.name == "avi":
        return stream.frames * base
    if container.format.name == "mxf" or "mp4" in container.format.name.split(","):
        return (stream.duration or 0) * base
    parts = _DURATION.fullmatch(stream.metadata.get("DURATION", ""))
    if parts is None:
        return Fraction(0)
    hours, minutes, seconds = parts.groups()
    end = (int(hours) * 60 + int(minutes)) * 60 + Fraction(seconds)
    return end - (stream.start_time or 0) * base


def check_whole(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    seen: Counts,
    declared: int,
) -> None:
    """Refuse a video that ended long before the declared end.

    Args:
        container: container of the stream.
        stream: stream that was decoded to its end.
        seen: counts of the decoding.
        declared: frames that the container declares.

    Raises:
        BadVideoError: it did.
    """
    # A declared length is compared as a length, a declared number as a number.
    count = seen.decoded if _counts_frames(container, stream) else seen.shown
    declared -= seen.left_out
    if count < max(1, _MIN_SHARE_OF_DECLARED * declared):
        raise BadVideoError(f"gives {count} frames, but its container says {declared}")
