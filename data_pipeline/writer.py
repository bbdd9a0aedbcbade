"""One shard of the plan -> one byte-deterministic tar in the lake, by one Ray task.

Frames never travel: a task decodes to a local file, hashes it, uploads it once under a name that
carries the hash, and returns one row.
"""

import hashlib
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_pipeline import lake, masks, sample
from data_pipeline.catalogue import OK, FrameRow, VideoRow, encode_index
from data_pipeline.plan import Shard
from data_pipeline.sources import BadVideoError, SourceVideo, decode

_BLOCK = 512  # of a tar


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Everything a worker must know to write one shard."""

    output: str
    """URI of the data set."""
    shard: Shard
    """What to write."""
    width: int
    """Of the frames, pixels."""
    height: int
    """Of the frames, pixels."""
    seed: int
    """Of the data set; masks come from it."""
    kinds: tuple[str, ...]
    """Kind of each mask variant."""

    def to_row(self) -> dict[str, Any]:
        """As a row of a Ray data set: JSON, because Arrow would reshape nested records."""
        return {"task": json.dumps(asdict(self))}

    @staticmethod
    def from_row(row: dict[str, Any]) -> "Task":
        """Read what `to_row` made."""
        value = json.loads(row["task"])
        shard = value.pop("shard")
        videos = tuple(SourceVideo(**video) for video in shard["videos"])
        kinds = tuple(value.pop("kinds"))
        return Task(shard=Shard(shard["name"], shard["split"], videos), kinds=kinds, **value)


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one task."""

    shard: str
    """Name in the plan."""
    path: str
    """Path of the tar below the data set; "" when nothing was written."""
    size: int
    """Bytes of the tar."""
    sha256: str
    """Hash of the tar."""
    videos: tuple[VideoRow, ...]
    """Rows for the catalogue."""
    rejected: dict[str, str]
    """Id -> reason of the videos that could not be used."""
    index: bytes
    """Rows per frame, as parquet."""

    def to_row(self) -> dict[str, Any]:
        """As a row of a Ray data set."""
        plain = {k: v for k, v in asdict(self).items() if k != "index"}
        return {"written": json.dumps(plain), "index": self.index}

    @staticmethod
    def from_row(row: dict[str, Any]) -> "Written":
        """Read what `to_row` made."""
        value = json.loads(row["written"])
        videos = tuple(VideoRow(**video) for video in value.pop("videos"))
        return Written(videos=videos, index=row["index"], **value)


class Tar:
    """Members of a tar as `webdataset.TarWriter(mtime=0, encoder=False, mode=0o644)` writes them.

    Same bytes, without its import, which loads torch in every worker.
    """

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._end = 0

    def add(self, name: str, data: bytes) -> int:
        """Append one member; returns the offset of its first byte of data."""
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(data), 0, 0o644
        self._archive.addfile(member, io.BytesIO(data))
        offset = self._end + _BLOCK
        self._end = offset + -(-len(data) // _BLOCK) * _BLOCK
        return offset


def write_shard(row: dict[str, Any]) -> dict[str, Any]:
    """The function that Ray Data maps over the plan: `Task` row in, `Written` row out."""
    return _write(Task.from_row(row)).to_row()


def _write(task: Task) -> Written:
    videos: list[VideoRow] = []
    frames: list[FrameRow] = []
    rejected: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="sttn-shard-") as folder:
        local = Path(folder) / "shard.tar"
        with tarfile.open(local, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            tar = Tar(archive)
            for video in task.shard.videos:
                try:
                    spool = _Spool(Path(folder) / "frames", video, task)
                except BadVideoError as bad:
                    rejected[video.id] = f"{video.path} {bad}"
                    continue
                videos.append(_add_video(tar, video, task, spool, frames))
        if rejected:
            return Written(task.shard.name, "", 0, "", (), rejected, b"")
        with local.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        path = f"shards/{task.shard.name}-{sha256[:8]}.tar"
        size = local.stat().st_size
        lake.upload(local, lake.join(task.output, path))
    rows = tuple(replace(row, shard=path) for row in videos)
    return Written(task.shard.name, path, size, sha256, rows, {}, encode_index(path, frames))


class _Spool:
    """The JPEGs of one video in a local file: the tar wants their number before them."""

    def __init__(self, path: Path, video: SourceVideo, task: Task) -> None:
        self._path = path
        self._sizes: list[int] = []
        with path.open("wb") as file:
            for frame in decode(video, task.width, task.height):
                self._sizes.append(file.write(sample.encode_frame(frame)))

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            for size in self._sizes:
                yield file.read(size)


def _add_video(
    tar: Tar, video: SourceVideo, task: Task, spool: _Spool, rows: list[FrameRow]
) -> VideoRow:
    """Append the sample of one video to the tar and its frames to `rows`."""
    count, height, width = len(spool), task.height, task.width
    variants = [
        sample.Variant(kind, masks.variant_seed(task.seed, video.id, index))
        for index, kind in enumerate(task.kinds)
    ]
    chunks = sample.encode_masks(
        masks.mask_frames(variant.kind, variant.seed, count, height, width) for variant in variants
    )
    meta = sample.encode_meta(
        video=video.id,
        split=video.split,
        frames=count,
        width=width,
        height=height,
        fps=video.fps,
        source_name=video.name,
        source_sha256=video.sha256,
        variants=variants,
        chunk_bytes=chunks.sizes,
    )
    tar.add(sample.meta_member(video.id), meta)
    masks_offset = tar.add(sample.masks_member(video.id), chunks.data)
    for frame, jpeg in enumerate(spool):
        offset = tar.add(sample.frame_member(video.id, frame), jpeg)
        rows.append(FrameRow(video.id, frame, offset, len(jpeg), zlib.crc32(jpeg)))
    return VideoRow(
        id=video.id,
        split=video.split,
        frames=count,
        width=width,
        height=height,
        fps=video.fps,
        shard="",  # named by the hash of the finished tar
        masks_offset=masks_offset,
        masks_size=len(chunks.data),
        masks_crc32=zlib.crc32(chunks.data),
        mask_kinds=list(task.kinds),
        chunk_bytes=[list(sizes) for sizes in chunks.sizes],
        chunk_crc32=[list(sums) for sums in chunks.crc32],
        source_name=video.name,
        source_sha256=video.sha256,
        status=OK,
        reason="",
    )
