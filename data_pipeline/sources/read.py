"""Reads the frames of a video record as JPEGs of the data set's size."""

from collections.abc import Iterator

from data_pipeline.sources import frame_folders, photos, video_files, zips
from data_pipeline.sources.fit import Fit
from data_pipeline.sources.record import (
    BadVideoError,
    Limits,
    SourceStats,
    SourceVideo,
    errors_as_bad_video,
)


def jpegs(
    video: SourceVideo,
    width: int,
    height: int,
    limits: Limits,
    seen: SourceStats,
    fit: Fit = "stretch",
) -> Iterator[bytes]:
    """Read the frames of a video as JPEGs of [height, width], one at a time.

    A stored picture that is such a JPEG already keeps its bytes.

    Args:
        video: video to read.
        width: width of the data set's frames, pixels.
        height: height of the data set's frames, pixels.
        limits: limits on the video.
        seen: filled while the frames are read, complete after the last one.
        fit: treatment of frames of another shape.

    Raises:
        BadVideoError: the video cannot be used.
        TransientError: its store does not answer.
    """
    if video.bad:
        raise BadVideoError(video.bad)
    readers = {
        "folder": frame_folders.jpegs,
        "zip": zips.jpegs,
        "file": video_files.jpegs,
        "photo": photos.jpegs,
    }
    with errors_as_bad_video():
        yield from readers[video.kind](video, (width, height), limits, seen, fit)
