"""Reads STTN's own layout: a zip of numbered pictures per video, and lists of ids and frames.

A zip is read in place, member by member; nothing is unpacked to disk.
"""

import hashlib
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from data_pipeline.cli.command import UserError, first_few
from data_pipeline.sources import pictures
from data_pipeline.sources.fit import Fit
from data_pipeline.sources.ids import video_id
from data_pipeline.sources.listing import (
    Listing,
    frames_in_order,
    is_junk,
    json_file,
    listing,
    mismatch,
)
from data_pipeline.sources.record import (
    TEST,
    TRAIN,
    BadVideoError,
    Limits,
    SourceStats,
    SourceVideo,
)
from data_pipeline.storage import lake

_FOLDER = "JPEGImages"
_SPLITS = (TRAIN, TEST)
_LAYOUT = f"{_FOLDER}/<video>.zip with train.json and test.json ({{video: frames}})"
_FPS = "30/1"  # the layout does not say; its frames are those of YouTube-VOS

# Limits on what a zip declares in its table of contents.
_TABLE_BYTES, _TABLE_BYTES_PER_FRAME = 2**17, 512
_MAX_RATIO = 100  # of all pictures to the zip; pictures are compressed already
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others need a dictionary of any size
_ENCRYPTED = 1
_LOCAL_HEADER = 30  # bytes before a member's name


def find(inputs: Sequence[str]) -> list[SourceVideo]:
    """Find the videos that the lists name; a zip in no list is not taken.

    Raises:
        UserError: the layout is another one, or a list is wrong.
    """
    return [video for uri in inputs for video in _videos(listing(uri))]


def jpegs(
    video: SourceVideo, size: tuple[int, int], limits: Limits, seen: SourceStats, fit: Fit
) -> Iterator[bytes]:
    """Read the frames of a zip as JPEGs; see `read.jpegs`."""
    digest = hashlib.sha256()
    max_bytes = limits.max_frame_bytes
    try:
        with lake.local_copy(video.uri) as path, path.open("rb") as file:
            length = path.stat().st_size
            archive = _opened(file, length, _TABLE_BYTES + _TABLE_BYTES_PER_FRAME * video.frames)
            frames = _frames(archive.infolist(), length)
            pictures.check_count(len(frames), video, limits)
            pictures.check_sizes((frame.file_size for frame in frames), max_bytes)
            for frame in frames:
                with archive.open(frame) as member:
                    data = member.read(max_bytes + 1)
                digest.update(data)
                yield pictures.to_jpeg(data, size, limits, seen, fit)
    except (BadVideoError, lake.TransientError, lake.DiskFull, UserError):
        raise
    except Exception as error:  # zipfile raises whatever comes to it
        raise BadVideoError("is a damaged zip", str(error)) from error
    seen.sha256 = digest.hexdigest()


def _videos(found: Listing) -> Iterator[SourceVideo]:
    zips = found.folders.get(_FOLDER, {})
    lists = {split: found.file(f"{split}.json") for split in _SPLITS}
    if not any(name.endswith(".zip") for name in zips) or not any(lists.values()):
        raise mismatch("sttn-layout", found, _LAYOUT)
    for split, data in lists.items():
        uri = lake.join(found.uri, f"{split}.json")
        counts = _counts(uri, data) if data is not None else {}
        missing = [name for name in counts if f"{name}.zip" not in zips]
        if missing:
            raise UserError(
                f"{uri} names {len(missing)} videos without a zip ({first_few(missing)}): add "
                f"them to {_FOLDER}/, or remove them there"
            )
        for name, frames in counts.items():
            path = f"{_FOLDER}/{name}.zip"
            yield SourceVideo(
                id=video_id(name),
                split=split,
                kind="zip",
                uri=lake.join(found.uri, path),
                name=path,
                frames=frames,
                bytes=zips[f"{name}.zip"],
                fps=_FPS,
            )


def _counts(uri: str, data: bytes) -> dict[str, int]:
    counts = json_file(uri, data)
    if not isinstance(counts, dict) or not all(
        type(count) is int and count > 0 for count in counts.values()
    ):
        raise UserError(f"{uri} is not an object {{video: number of frames}}: mend it")
    return counts


@dataclass(slots=True)
class _Guarded:
    """File with a limit on the bytes of one read: zipfile reads the whole table in one."""

    file: BinaryIO
    size: int
    max_bytes: int

    def read(self, size: int = -1) -> bytes:
        if (size if size >= 0 else self.size - self.file.tell()) > self.max_bytes:
            raise BadVideoError("has a table of contents that is too large for its frames")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def seekable(self) -> bool:
        return True


def _opened(file: BinaryIO, size: int, max_bytes: int) -> zipfile.ZipFile:
    """Open a zip whose table of contents has at most `max_bytes` bytes."""
    guarded = _Guarded(file, size, max_bytes)
    archive = zipfile.ZipFile(guarded)
    guarded.max_bytes = size
    return archive


def _frames(members: Sequence[zipfile.ZipInfo], size: int) -> list[zipfile.ZipInfo]:
    """Check every member; return the frames, by number."""
    _refuse_overlaps(members)
    if sum(member.file_size for member in members) > _MAX_RATIO * size:
        raise BadVideoError(f"unpacks to more than {_MAX_RATIO} times its size")
    by_name: dict[str, zipfile.ZipInfo] = {}
    folders = set()
    for member in members:
        _refuse_member(member)
        if member.is_dir() or any(is_junk(part) for part in member.filename.split("/")):
            continue
        if member.filename in by_name:
            raise BadVideoError("has two members of one name", member.filename)
        by_name[member.filename] = member
        folders.add(member.filename.rpartition("/")[0])
    names = {path.rpartition("/")[2]: path for path in by_name}
    frames = frames_in_order(names)
    if frames and len(folders) > 1:
        raise BadVideoError("has files in more than one folder")
    return [by_name[names[frame]] for frame in frames]


def _refuse_member(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    if name.startswith("/") or "\\" in name or "\0" in name or ":" in name:
        raise BadVideoError("has a member with an unsafe name", name)
    if ".." in name.split("/"):
        raise BadVideoError("has a member with an unsafe name", name)
    if stat.S_ISLNK(member.external_attr >> 16):
        raise BadVideoError("has a member that is a link", name)
    if member.flag_bits & _ENCRYPTED:
        raise BadVideoError("has an encrypted member", name)
    if member.compress_type not in _METHODS:
        raise BadVideoError("has a member packed in another way than stored or deflated", name)


def _refuse_overlaps(members: Sequence[zipfile.ZipInfo]) -> None:
    ordered = sorted(members, key=lambda member: member.header_offset)
    for member, following in pairwise(ordered):
        header = _LOCAL_HEADER + len(member.orig_filename.encode())
        if member.header_offset + header + member.compress_size > following.header_offset:
            raise BadVideoError("has members that overlap", member.filename)
