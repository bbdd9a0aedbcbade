"""What travels between the driver of a build and its workers, both ways, as bytes."""

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from data_pipeline import manifest
from data_pipeline.canonical import canonical_json
from data_pipeline.catalogue import REJECTED, VideoRow
from data_pipeline.manifest import File
from data_pipeline.plan import Shard
from data_pipeline.sources.record import Annotated, Limits, SourceVideo


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Everything a worker must know to write one shard."""

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
    limits: Limits
    """What a video may cost."""
    donors: dict[str, tuple[Annotated, ...]]
    """Video id -> other videos of its split to take object masks from, first choice first."""

    def encode(self) -> "Order":
        """As it travels to a worker: small, because a plan may have a million videos."""
        # `asdict` copies deeply and takes ten times as long.
        text = json.dumps(self, default=_fields).encode()
        key = hashlib.sha256(text).hexdigest()[:16]
        note = f"{manifest.STAGING}/{self.shard.name}-{key}.json"
        return Order(self.shard.name, len(self.shard.videos), note, zlib.compress(text, level=1))

    @staticmethod
    def decode(data: bytes) -> "Task":
        """Read `Order.data`."""
        value = json.loads(zlib.decompress(data))
        shard = value.pop("shard")
        videos = tuple(SourceVideo(**video) for video in shard["videos"])
        return Task(
            shard=Shard(shard["name"], shard["split"], videos),
            kinds=tuple(value.pop("kinds")),
            limits=Limits(**value.pop("limits")),
            donors={
                video: tuple(Annotated(**donor) for donor in donors)
                for video, donors in value.pop("donors").items()
            },
            **value,
        )


@dataclass(frozen=True, slots=True)
class Order:
    """A task, packed."""

    shard: str
    """Name in the plan."""
    videos: int
    """To write."""
    note: str
    """Path of the note that the shard is done, below the data set; names all of the task."""
    data: bytes
    """For `Task.decode`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of one task."""

    shard: str
    """Name in the plan."""
    payload: dict[str, File]
    """Path below the data set -> the tar and its index; empty when no video could be used."""
    videos: tuple[VideoRow, ...]
    """Rows for the catalogue, in the order of the plan."""
    details: dict[str, str]
    """Id -> what a library said of a video that was left out."""

    @property
    def rejected(self) -> dict[str, str]:
        """Id -> name and reason of the videos that were left out."""
        rows = (row for row in self.videos if row.status == REJECTED)
        return {row.id: f"{row.source_name} {row.reason}" for row in rows}

    def encode(self) -> bytes:
        """As the note that the shard is done."""
        return canonical_json(asdict(self)) + b"\n"

    @staticmethod
    def decode(data: bytes) -> "Written":
        """Read what `encode` made."""
        value = json.loads(data)
        return Written(
            payload={path: File(**file) for path, file in value.pop("payload").items()},
            videos=tuple(VideoRow(**video) for video in value.pop("videos")),
            **value,
        )


def _fields(record: Any) -> dict[str, Any]:
    """The fields of a slotted dataclass."""
    return {name: getattr(record, name) for name in record.__slots__}
