"""A record -> its frames as JPEGs at the data set's size."""

from collections.abc import Iterator

from data_pipeline.sources import frame_folders, video_files, zips
from data_pipeline.sources.record import BadVideoError, Limits, Seen, SourceVideo


def jpegs(
    video: SourceVideo, width: int, height: int, limits: Limits, seen: Seen
) -> Iterator[bytes]:
    """The frames of a video as JPEGs of [height, width], one at a time.

    A stored picture that is such a JPEG already keeps its bytes.

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
    if video.bad:
        raise BadVideoError(video.bad)
    readers = {"folder": frame_folders.jpegs, "zip": zips.jpegs, "file": video_files.jpegs}
    yield from readers[video.kind](video, width, height, limits, seen)
