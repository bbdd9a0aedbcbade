"""Messages between the driver of a build and its workers, as bytes."""

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from data_pipeline.build.plan import Shard
from data_pipeline.cli.canonical import canonical_json
from data_pipeline.format import manifest
from data_pipeline.format.catalogue import REJECTED, VideoRow
from data_pipeline.format.manifest import File
from data_pipeline.sources.fit import Fit
from data_pipeline.sources.record import AnnotatedVideo, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Everything a worker needs to write one shard."""

    shard: Shard
    """Videos to write."""
    width: int
    """Width of the frames, pixels."""
    height: int
    """Height of the frames, pixels."""
    fit: Fit
    """Treatment of frames of another shape."""
    seed: int
    """Seed of the data set; masks are drawn from it."""
    kinds: tuple[str, ...]
    """Kind of each mask variant."""
    limits: Limits
    """Limits on the size of a video."""
    donors: dict[str, tuple[AnnotatedVideo, ...]]
    """Video id -> other videos of its split to take object masks from, first choice first."""

    def encode(self) -> "PackedTask":
        """Pack the task for a worker: small, because a plan may have a million videos."""
        # `asdict` copies deeply and takes ten times as long.
        text = json.dumps(self, default=_fields).encode()
        key = hashlib.sha256(text).hexdigest()[:16]
        note = f"{manifest.STAGING}/{self.shard.name}-{key}.json"
        return PackedTask(
            self.shard.name, len(self.shard.videos), note, zlib.compress(text, level=1)
        )

    @staticmethod
    def decode(data: bytes) -> "Task":
        """Read `PackedTask.data`."""
        return _TASK.validate_json(zlib.decompress(data))


@dataclass(frozen=True, slots=True)
class PackedTask:
    """A task, packed."""

    shard: str
    """Name in the plan."""
    videos: int
    """Number of videos to write."""
    note: str
    """Path of the note that the shard is done, below the data set; its name hashes the task."""
    data: bytes
    """Input of `Task.decode`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardResult:
    """Result of one task."""

    shard: str
    """Name in the plan."""
    payload: dict[str, File]
    """Path below the data set -> the tar and its index; empty when no video could be used."""
    videos: tuple[VideoRow, ...]
    """Rows for the catalogue, in the order of the plan."""
    details: dict[str, str]
    """Id of a video that was left out -> message of the library that failed on it."""
    other_shape: tuple[str, ...] = ()
    """Ids of the videos whose frames are of another shape than the data set's."""
    annotations: dict[str, str] = field(default_factory=dict)
    """Id of a video -> why its annotations give no object masks."""

    @property
    def rejected(self) -> dict[str, str]:
        """Name and reason of the videos that were left out, by id."""
        rows = (row for row in self.videos if row.status == REJECTED)
        return {row.id: f"{row.source_name} {row.reason}" for row in rows}

    def encode(self) -> bytes:
        """Encode as the note that the shard is done."""
        return canonical_json(asdict(self)) + b"\n"

    @staticmethod
    def decode(data: bytes) -> "ShardResult":
        """Read what `encode` made."""
        return _RESULT.validate_json(data)


def _fields(record: Any) -> dict[str, Any]:
    """Return the fields of a slotted dataclass."""
    return {name: getattr(record, name) for name in record.__slots__}


_TASK = TypeAdapter(Task)
_RESULT = TypeAdapter(ShardResult)
