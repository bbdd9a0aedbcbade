"""Reads YouTube-VOS and DAVIS: a folder of numbered pictures per video, and one of labels."""

import hashlib
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

from data_pipeline.cli.command import UserError, first_few, say
from data_pipeline.sources import pictures
from data_pipeline.sources.fit import Fit
from data_pipeline.sources.ids import video_id
from data_pipeline.sources.listing import (
    Listing,
    by_folder,
    decoded,
    frames_in_order,
    json_file,
    listing,
    mismatch,
    number_of,
)
from data_pipeline.sources.numbering import Numbers
from data_pipeline.sources.record import (
    AnnotatedVideo,
    BadVideoError,
    Limits,
    SourceStats,
    SourceVideo,
)
from data_pipeline.storage import lake

FRAMES = "JPEGImages"
LABELS = "Annotations"

_SPLITS = ("train", "valid", "test")
_ALL_FRAMES = "_all_frames"
_YOUTUBE_VOS = (
    f"train/, valid/ or test/ (or train{_ALL_FRAMES}/ ...) with {FRAMES}/<video>/<number>.jpg, or "
    "one of these folders itself"
)
_YOUTUBE_VOS_FPS = 30  # of the numbers in the frames' names

_DAVIS = f"{FRAMES}/480p/<video>/<number>.jpg and ImageSets/2017/train.txt or ImageSets/480p/..."
_DAVIS_SETS = ("2017", "2016", "480p")  # the first that is there
_DAVIS_SPLITS = ("train", "val")
_DAVIS_FPS = 24
_DAVIS_PAIR = re.compile(rf"/?{FRAMES}/[^/\s]+/([^/\s]+)/[^/\s]+(\s.*)?")

_READERS = 8  # frames of a video that are fetched from S3 at the same time


def find_youtube_vos(inputs: Sequence[str]) -> list[SourceVideo]:
    """Find the videos of YouTube-VOS in its published layout.

    Raises:
        UserError: the layout is another one, or something in it has no frames.
    """
    gaps: dict[str, str] = {}
    found = [_from_above(listing(uri)) for uri in inputs]
    videos = [video for one in found for video in _youtube_vos(one, gaps)]
    _report(gaps)
    return videos


def find_davis(inputs: Sequence[str]) -> list[SourceVideo]:
    """Find the videos of DAVIS 2016 or 2017 at 480p; those in neither train nor val have split "".

    Raises:
        UserError: the layout is another one, or a list names a video without frames.
    """
    gaps: dict[str, str] = {}
    videos = [video for uri in inputs for video in _davis(listing(uri), gaps)]
    _report(gaps)
    return videos


def jpegs(
    video: SourceVideo, size: tuple[int, int], limits: Limits, seen: SourceStats, fit: Fit
) -> Iterator[bytes]:
    """Read the frames of a folder as JPEGs; see `read.jpegs`."""
    sizes = files_of(video.uri)
    names = frames_in_order(sizes)
    pictures.check_count(len(names), video, limits)
    pictures.check_sizes((sizes[name] for name in names), limits.max_frame_bytes)
    root = root_of(video)
    paths = [lake.join(video.uri, name) for name in names]
    digest = hashlib.sha256()
    for data in _read_in_order(paths, root, limits.max_frame_bytes):
        digest.update(data)
        yield pictures.to_jpeg(data, size, limits, seen, fit)
    seen.sha256 = digest.hexdigest()


def root_of(video: SourceVideo | AnnotatedVideo) -> str:
    """Return the input that a folder lies in; links in the folder must not lead out of it."""
    if lake.is_s3(video.uri):
        return video.uri.removesuffix(video.name)
    return str(Path(video.uri).resolve().parents[video.name.count("/")])


def files_of(uri: str) -> dict[str, int]:
    """List the files right in a folder: name -> size in bytes."""
    entries = lake.list_entries(uri)
    return by_folder((entry.name, entry.size) for entry in entries).get("", {})


def read_picture(uri: str, root: str, max_bytes: int) -> bytes:
    """Read a whole picture file, at most `max_bytes` + 1 bytes of it.

    Raises:
        BadVideoError: it cannot be read, or it is a link to a place outside of `root`.
    """
    try:
        if lake.is_s3(uri):
            data = lake.read_range(uri, 0, max_bytes + 1)
        else:
            with _inside(uri, root).open("rb") as file:
                data = file.read(max_bytes + 1)
    except OSError as error:
        raise BadVideoError("has a picture that cannot be read", str(error)) from error
    pictures.check_sizes([len(data)], max_bytes)
    return data


def _inside(path: str, root: str) -> Path:
    real = Path(path).resolve()
    if not real.is_relative_to(root):
        raise BadVideoError("has a picture that is a link out of the input", path)
    return real


def _read_in_order(paths: Sequence[str], root: str, max_bytes: int) -> Iterator[bytes]:
    """Read pictures one after the other; from S3 a few are prefetched."""
    if not lake.is_s3(root):
        for path in paths:
            yield read_picture(path, root, max_bytes)
        return
    with ThreadPoolExecutor(_READERS) as pool:
        ahead = deque(pool.submit(read_picture, path, root, max_bytes) for path in paths[:_READERS])
        for path in [*paths[_READERS:], *[""] * min(_READERS, len(paths))]:
            yield ahead.popleft().result()
            if path:
                ahead.append(pool.submit(read_picture, path, root, max_bytes))


def _from_above(found: Listing) -> Listing:
    """List an input that is train/ (or another split) itself as if the folder above were given."""
    above, _, name = found.uri.rpartition("/")
    if name.removesuffix(_ALL_FRAMES) not in _SPLITS or not found.has(FRAMES):
        return found
    folders = {f"{name}/{folder}".rstrip("/"): files for folder, files in found.folders.items()}
    labels = f"{name.removesuffix(_ALL_FRAMES)}/{LABELS}"
    if not found.has(LABELS) and name.endswith(_ALL_FRAMES):
        beside = lake.list_entries(lake.join(above, labels))
        folders |= by_folder((f"{labels}/{entry.name}", entry.size) for entry in beside)
    return Listing(above, folders)


def _youtube_vos(found: Listing, gaps: dict[str, str]) -> Iterator[SourceVideo]:
    variants = [split + end for split in _SPLITS for end in ("", _ALL_FRAMES)]
    variants = [variant for variant in variants if found.has(f"{variant}/{FRAMES}")]
    if not variants:
        raise mismatch("youtube-vos", found, _YOUTUBE_VOS)
    for variant in variants:
        split = variant.removesuffix(_ALL_FRAMES)
        if variant != split and split in variants:
            raise UserError(
                f"--input {found.uri} holds {split} and {variant}, the same videos: give the "
                f"folder of one of them"
            )
        frames = found.children(f"{variant}/{FRAMES}")
        nested = found.nested()
        labels_at = f"{variant}/{LABELS}"
        if not found.has(labels_at):
            labels_at = f"{split}/{LABELS}"
        labels = found.children(labels_at)
        _refuse_orphans(found, labels, frames, f"{labels_at}/ has")
        _refuse_orphans(found, _meta_videos(found, variant), frames, f"{variant}/meta.json names")
        for name, files in frames.items():
            path = f"{variant}/{FRAMES}/{name}"
            labels_of = f"{labels_at}/{name}" if labels.get(name) else ""
            yield _record(found.uri, path, split, files, labels_of, path in nested, gaps)


def _meta_videos(found: Listing, variant: str) -> list[str]:
    path = f"{variant}/meta.json"
    data = found.file(path)
    if data is None:
        return []
    uri = lake.join(found.uri, path)
    value = json_file(uri, data)
    videos = value.get("videos") if isinstance(value, dict) else None
    if not isinstance(videos, dict):
        raise UserError(f'{uri} has no object "videos": mend or remove it')
    return list(videos)


def _davis(found: Listing, gaps: dict[str, str]) -> Iterator[SourceVideo]:
    at = f"{FRAMES}/480p"
    sets = [name for name in _DAVIS_SETS if found.has(f"ImageSets/{name}")]
    if not found.has(at) or not sets:
        raise mismatch("davis", found, _DAVIS)
    frames, nested = found.children(at), found.nested()
    labels = found.children(f"{LABELS}/480p")
    split_of: dict[str, str] = {}
    for split in _DAVIS_SPLITS:
        path = f"ImageSets/{sets[0]}/{split}.txt"
        names = _davis_list(found.file(path) or b"")
        _refuse_orphans(found, names, frames, f"{path} names")
        split_of |= dict.fromkeys(names, split)
    for name, files in frames.items():
        path, split = f"{at}/{name}", split_of.get(name, "")
        labels_of = f"{LABELS}/480p/{name}" if labels.get(name) else ""
        yield _record(found.uri, path, split, files, labels_of, path in nested, gaps, _DAVIS_FPS)


def _davis_list(data: bytes) -> list[str]:
    """Read the videos of a list: an id a line, or the paths of a frame and of its labels."""
    try:
        lines = decoded(data).split("\n")
    except UnicodeDecodeError:
        lines = data.decode(errors="replace").split("\n")
    names = [_DAVIS_PAIR.sub(r"\1", line.strip()) for line in lines]
    return list(dict.fromkeys(name for name in names if name))


def _record(
    uri: str,
    path: str,
    split: str,
    files: Mapping[str, int],
    labels: str,
    nested: bool,
    gaps: dict[str, str],
    fps: int = 0,
) -> SourceVideo:
    """Make the record of a video; `fps` 0: from its frame numbers. Gaps in them go to `gaps`."""
    name = path.rpartition("/")[2]
    bad, frames = "has folders inside" if nested else "", []
    try:
        frames = frames_in_order(files)
    except BadVideoError as error:
        bad = error.reason
    numbers = Numbers(tuple(map(number_of, frames)))
    if numbers.missing:
        gaps[name] = numbers.in_words()
    rate = Fraction(fps or _YOUTUBE_VOS_FPS, 1 if fps else numbers.step)
    return SourceVideo(
        id=video_id(name),
        split=split,
        kind="folder",
        uri=lake.join(uri, path),
        name=path,
        frames=len(frames),
        bytes=sum(files[frame] for frame in frames),
        fps=f"{rate.numerator}/{rate.denominator}",
        annotations=lake.join(uri, labels) if labels else "",
        bad=bad or ("" if frames else "has no frames"),
    )


def _report(gaps: Mapping[str, str]) -> None:
    if gaps:
        few = first_few((f"{video}: {numbers}" for video, numbers in gaps.items()), between="; ")
        videos = "1 video has" if len(gaps) == 1 else f"{len(gaps)} videos have"
        theirs = "its" if len(gaps) == 1 else "their"
        say(f"{videos} gaps in the numbers of {theirs} frames: {few}")


def _refuse_orphans(
    found: Listing,
    names: Sequence[str] | Mapping[str, object],
    frames: Mapping[str, object],
    where: str,
) -> None:
    missing = [name for name in names if name not in frames]
    if missing:
        raise UserError(
            f"{lake.join(found.uri, where)} {len(missing)} videos without a folder of frames "
            f"({first_few(missing)}): add their frames, or remove them there"
        )
