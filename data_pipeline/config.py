"""Options of the commands `shard`, `verify`, `show`, `list`, `remove`. Loads nothing heavy."""

import os
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from data_pipeline.cli.bounds import bounded, refuse_out_of_bounds
from data_pipeline.cli.command import UserError

_Uri = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="URI")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardConfig:
    """Build a data set from videos: decode, resize, make masks, write shards and an index.

    A data set is written once. The same command on a finished one says so and changes nothing;
    after an interruption it resumes with the shards that are missing.
    """

    input: tuple[str, ...]
    """Folders or files with videos: paths or s3://bucket/key. For `videos` also wheel:PACKAGE/FILE,
    a file that an installed package carries."""
    output: str
    """Place of the data set: a path or s3://bucket/key, best .../curated/NAME/VERSION."""
    source: Literal["videos", "youtube-vos", "sttn-layout", "davis", "photos"] = "videos"
    """Kind of the inputs: video files, folders in the layout of a published data set, or
    photographs, over which a drawn camera moves, with parts of others moving in front."""
    photo_videos: int = bounded(4, 1, 10**4)
    """Videos to make of each photograph, number. Only with --source photos."""
    photo_frames: int = bounded(24, 2, 10**4)
    """Frames of each of these videos, number."""
    held_out: tuple[str, ...] = ()
    """Ids of the videos of split `test`; all others keep the split their layout gives."""
    test_share: float = bounded(0.0, 0, 1)
    """Share of the videos, 0 to 1, drawn by the seed into split `test`, the rest is `train`."""
    split_lists: tuple[str, ...] = ()
    """SPLIT=FILE, ...: the videos of each split, in JSON (a list, or an object with ids as keys) or
    text (an id a line). Videos in no list are not taken."""
    width: int = bounded(432, 16, 2**14)
    """Width of the frames, pixels."""
    height: int = bounded(240, 16, 2**14)
    """Height of the frames, pixels."""
    fit: Literal["crop", "letterbox", "stretch"] | None = None
    """Treatment of videos whose aspect ratio differs by more than 5 %: `crop` keeps the middle,
    `letterbox` adds black bars, `stretch` changes the proportions. Default: crop for `videos`,
    stretch for published data sets, as their papers do."""
    static: int = bounded(2, 0, 1000)
    """Static free-form masks of each video, number."""
    moving: int = bounded(2, 0, 1000)
    """Moving free-form masks of each video, number."""
    objects: int = bounded(1, 0, 1000)
    """Object masks of each video, number: in the shape of an annotated object of another video of
    its split. A video gets none where no other video of its split has annotations."""
    overlays: int = bounded(0, 0, 1000)
    """Overlay masks of each video, number: subtitles, or a logo that stands or drifts."""
    seed: int = bounded(0, 0, 2**63 - 1)
    """Seed of the masks, of the order of videos, of the test share and of the cameras of photos."""
    shard_megabytes: int = bounded(256, 1, 2**20)
    """Approximate size of a full shard, megabytes."""
    min_frames: int = bounded(5, 1, 10**9)
    """Minimum number of frames of a video; a shorter one is left out."""
    max_frames: int = bounded(200_000, 1, 10**9)
    """Maximum number of frames of a video; a longer one is left out."""
    max_pixels: int = bounded(2**26, 1, 2**40)
    """Maximum number of pixels of a source frame; a video with a larger one is left out."""
    max_frame_megabytes: int = bounded(64, 1, 2**20)
    """Maximum size of one stored picture, unpacked, megabytes; a video with a larger one is left
    out."""
    max_rejected: float = bounded(0.01, 0, 1)
    """Maximum share of the videos, 0 to 1, that may be left out; beyond it nothing is committed."""
    parents: tuple[str, ...] = ()
    """Data sets that this one was derived from: the manifest keeps their URIs and digests."""
    workers: int = bounded(2, 1, 10**5)
    """Maximum number of shards written at the same time, one CPU each."""
    json: bool = False
    """End with one line of JSON: digest, uri, videos, frames, bytes, seconds, rejected."""

    @property
    def chosen_fit(self) -> Literal["crop", "letterbox", "stretch"]:
        """`fit`, or its default for the source."""
        return self.fit or ("crop" if self.source in ("videos", "photos") else "stretch")

    def __post_init__(self) -> None:
        if not self.input:
            raise UserError("--input names no video: give at least one file or folder")
        refuse_out_of_bounds(self)
        if not self.static + self.moving + self.overlays:
            # Whether there is an object is known only when the annotations are read.
            raise UserError(
                "no static, moving or overlay masks: give --static, --moving or --overlays"
            )
        if self.max_frames < self.min_frames:
            raise UserError(
                f"--max-frames {self.max_frames} is less than --min-frames {self.min_frames}: no "
                "video would be taken"
            )
        given = [self.min_frames, self.photo_frames, self.max_frames]
        if self.source == "photos" and given != sorted(given):
            raise UserError(
                f"--photo-frames {self.photo_frames} is not between --min-frames {self.min_frames} "
                f"and --max-frames {self.max_frames}: no video would be taken"
            )
        if self.source == "photos" and self.fit:
            raise UserError("--fit is for footage: a camera over photographs fills its frames")
        if sum(map(bool, (self.held_out, self.test_share, self.split_lists))) > 1:
            raise UserError(
                "--held-out, --test-share and --split-lists all say which videos are for testing: "
                "give one of them"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    """Read a whole data set again and list every difference to its manifest."""

    uri: _Uri
    """The data set: a path or s3://bucket/key."""
    json: bool = False
    """End with one line of JSON: digest, uri, files, bytes, seconds, differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowConfig:
    """Print what a data set holds, and draw a contact sheet: frames of videos with their masks."""

    uri: _Uri
    """The data set: a path or s3://bucket/key."""
    sheet: str = ""
    """File of the contact sheet, a PNG: a path or s3://bucket/key; `none` draws nothing. Default:
    NAME-VERSION.png in the current folder."""
    json: bool = False
    """End with one line of JSON: digest, uri, counts, sizes, histograms, masks, sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListConfig:
    """List all data sets of a lake, finished or not."""

    lake: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="LAKE")]
    """Root of the lake, searched recursively: a path or s3://bucket/key."""
    json: bool = False
    """End with one line of JSON: lake, data_sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveConfig:
    """Delete a data set that nothing refers to; with --older-than, remains of abandoned builds.

    Runs and registered versions in MLflow refer to a data set, and so do data sets derived from it.
    The same command finishes a removal that was interrupted.
    """

    uri: _Uri
    """The data set, or with --older-than a lake: a path or s3://bucket/key."""
    tracking_uri: str = field(default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", ""))
    """MLflow that is searched for references to the data set. Default: MLFLOW_TRACKING_URI."""
    no_registry: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Skip that search, because no MLflow refers to the data set."""
    lake: str = ""
    """Root of the lake that is searched for derived data sets. Default: .../LAKE of
    .../LAKE/NAME/VERSION."""
    older_than: Annotated[float | None, tyro.conf.arg(metavar="DAYS")] = bounded(None, 0, 10**6)
    """Delete unfinished builds, partial files and cache files not touched for so many days."""
    cache: str = ""
    """Cache folder of a node, to be cleared of files not used for --older-than days."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print what would be deleted, and delete nothing."""
    json: bool = False
    """End with one line of JSON: uri, removed, files, bytes, dry_run."""

    def __post_init__(self) -> None:
        refuse_out_of_bounds(self)
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

# Titles of options in the help of `shard`; those that matter first have none.
GROUPS = {
    "split": ("test_share", "split_lists"),
    "photo": ("photo_videos", "photo_frames"),
    "frame": ("width", "height", "fit"),
    "mask": ("static", "moving", "objects", "overlays", "seed"),
    "limit": ("min_frames", "max_frames", "max_pixels", "max_frame_megabytes", "max_rejected"),
    "output": ("shard_megabytes", "parents", "json"),
}
# Old flags and values, and what they are called now; they go with the next release.
RENAMED = {"--stationary": "--static"}
