"""A record -> its frames as JPEGs at the data set's size."""

from collections.abc import Iterator

from data_pipeline.sources import video_files
from data_pipeline.sources.record import Limits, Seen, SourceVideo


def jpegs(
    video: SourceVideo, width: int, height: int, limits: Limits, seen: Seen
) -> Iterator[bytes]:
    """The frames of a video as JPEGs of [height, width], one at a time.

    Args:
        video: which.
        width: of the data set's frames, pixels.
        height: of the data set's frames, pixels.
        limits: what the video may cost.
        seen: filled while the frames are read, complete when they are used up.

    Raises:
        BadVideoError: the video cannot be used.
        TransientError: its store does not answer.
    """
    return video_files.jpegs(video, width, height, limits, seen)
