"""Makes videos from photographs, each by a drawn camera (`camera.py`).

An input is a picture, or a folder that is searched for some.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from PIL import Image

from data_pipeline.cli.command import UserError, first_few
from data_pipeline.format import sample
from data_pipeline.format.ring import Ring
from data_pipeline.sources import pictures
from data_pipeline.sources.camera import MAX_LAYERS, film
from data_pipeline.sources.fit import Fit
from data_pipeline.sources.ids import video_id
from data_pipeline.sources.listing import File, by_folder, is_folder, single_file
from data_pipeline.sources.record import (
    TRAIN,
    BadVideoError,
    Limits,
    Photo,
    SourceStats,
    SourceVideo,
)
from data_pipeline.storage import lake

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

_FPS = 24


def find(inputs: Sequence[str], *, seed: int, videos: int, frames: int) -> list[SourceVideo]:
    """List the videos to make of the photographs below the inputs; all in the split `train`.

    Args:
        inputs: paths and URIs of pictures and of folders.
        seed: of the cameras.
        videos: videos of each photograph.
        frames: frames of each video.

    Raises:
        UserError: an input is not there, or holds no picture.
    """
    return [
        _record(file, number, seed, frames)
        for one in inputs
        for file in _pictures(one)
        for number in range(videos)
    ]


def with_layers(found: Sequence[SourceVideo], seed: int) -> tuple[SourceVideo, ...]:
    """Choose the photographs that layers are cut from: others, of the same split."""
    uris = {(one.split, one.photo.id): one.uri for one in found if one.photo}
    rings = {
        split: Ring.of((photo for its, photo in uris if its == split), seed)
        for split in {one.split for one in found}
    }

    def layered(video: SourceVideo) -> SourceVideo:
        if video.photo is None:
            return video
        # One more than layers: the photograph itself may be among them.
        chosen = rings[video.split].donors(video.id, seed, MAX_LAYERS + 1)
        others = [uris[video.split, one] for one in chosen if one != video.photo.id][:MAX_LAYERS]
        return replace(video, photo=replace(video.photo, others=tuple(others)))

    return tuple(map(layered, found))


def jpegs(
    video: SourceVideo, size: tuple[int, int], limits: Limits, seen: SourceStats, _fit: Fit
) -> Iterator[bytes]:
    """Make the frames of a video as JPEGs; see `read.jpegs`. They need no fit.

    A layer is left out where the photograph that it is cut from cannot be used.

    Raises:
        BadVideoError: the photograph cannot be used.
    """
    assert video.photo is not None, f"{video.id} is no photograph"
    photo, digest = video.photo, hashlib.sha256()
    background = _opened(video.uri, limits, digest)
    seen.width, seen.height = background.size
    others = []
    for uri in photo.others:
        with suppress(BadVideoError):
            others.append(_opened(uri, limits, digest))
    for frame in film([background, *others], size, video.frames, photo.seed, video.id):
        yield sample.encode_frame(frame)
    seen.sha256 = digest.hexdigest()


def _pictures(name: str) -> Iterable[File]:
    """List the pictures of an input."""
    uri = lake.absolute(name)
    entries = lake.list_entries(uri)
    folders = by_folder((entry.name, entry.size) for entry in entries)
    found = [
        File(lake.join(uri, folder, file), f"{folder}/{file}".lstrip("/"), size)
        for folder, files in sorted(folders.items())
        for file, size in sorted(files.items())
        if file.lower().endswith(SUFFIXES)
    ]
    if found:
        return found
    if entries or is_folder(uri):
        beside = f" but {first_few(sorted(e.name for e in entries))}" if entries else ""
        raise UserError(
            f"--input {uri} holds no picture{beside}: give a folder with {', '.join(SUFFIXES)}"
        )
    return [single_file(uri, "a picture, or a folder of some")]


def _opened(uri: str, limits: Limits, digest: "hashlib._Hash") -> Image.Image:
    """Decode a photograph, upright; its bytes are added to the digest.

    Raises:
        BadVideoError: it is damaged, or too large.
    """
    data = lake.read_bytes(uri)
    digest.update(data)
    pictures.check_sizes([len(data)], limits.max_frame_bytes)
    with pictures.opened(data, limits) as image:
        return Image.fromarray(pictures.rgb(image))


def _record(file: File, number: int, seed: int, frames: int) -> SourceVideo:
    photo = str(Path(file.name).with_suffix(""))
    return SourceVideo(
        id=video_id(f"{photo}-{number}"),
        split=TRAIN,
        kind="photo",
        uri=file.uri,
        name=file.name,
        frames=frames,
        bytes=file.bytes,
        fps=f"{_FPS}/1",
        photo=Photo(video_id(photo), seed),
    )
