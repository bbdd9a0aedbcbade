"""One shard of the plan -> one byte-deterministic tar in the lake, by one Ray task.

Frames never travel: a task decodes to a local file, hashes it, uploads it once under a name that
carries the hash, and returns one row.
"""

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from data_pipeline import lake, masks, sample
from data_pipeline.catalogue import OK, FrameRow, VideoRow, encode_index
from data_pipeline.plan import Shard
from data_pipeline.sources import BadVideo, SourceVideo, decode

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
        return Task(
            shard=Shard(shard["name"], shard["split"], videos), kinds=kinds, **value
        )


@dataclass(frozen=True, slots=True, kw_only=True)
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
    """A tar as `webdataset.TarWriter(mtime=0, encoder=False, mode=0o644)` writes it.

    Same bytes, without its import, which loads torch in every worker.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)
        self._end = 0

    def add(self, name: str, data: bytes) -> int:
        """Append one member; returns the offset of its first byte of data."""
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(data), 0, 0o644
        self._tar.addfile(member, io.BytesIO(data))
        offset = self._end + _BLOCK
        self._end = offset + -(-len(data) // _BLOCK) * _BLOCK
        return offset

    def close(self) -> None:
        """Write the end of the archive."""
        self._tar.close()


def write_shard(row: dict[str, Any]) -> dict[str, Any]:
    """The function that Ray Data maps over the plan: `Task` row in, `Written` row out."""
    return _write(Task.from_row(row)).to_row()


def _write(task: Task) -> Written:
    videos: list[VideoRow] = []
    frames: list[FrameRow] = []
    rejected: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="sttn-shard-") as folder:
        local = Path(folder) / "shard.tar"
        with local.open("wb") as file:
            tar = Tar(file)
            for video in task.shard.videos:
                try:
                    added = _add_video(tar, video, task, Path(folder) / "frames")
                except BadVideo as bad:
                    rejected[video.id] = f"{video.path} {bad}"
                    continue
                videos.append(added[0])
                frames += added[1]
            tar.close()
        if rejected:
            return _nothing(task, rejected)
        with local.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        path = f"shards/{task.shard.name}-{sha256[:8]}.tar"
        lake.upload(local, lake.join(task.output, path))
        size = local.stat().st_size
    return Written(
        shard=task.shard.name,
        path=path,
        size=size,
        sha256=sha256,
        videos=tuple(replace(row, shard=path) for row in videos),
        rejected={},
        index=encode_index(path, frames),
    )
