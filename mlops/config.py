"""What each door of this room can be told. Frozen; units in the line of each field.

Nothing here imports torch, ray, mlflow or av, so that `--help` answers at once.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from mlops import names
from mlops.gate import Rule


def _from_environment(variable: str) -> str:
    return os.environ.get(variable, "")


def _data() -> str:
    return _from_environment("STTN_DATA")


def _tracking_uri() -> str:
    return _from_environment("MLFLOW_TRACKING_URI")


def _require(value: str, flag: str, variable: str) -> None:
    if not value:
        raise ValueError(f"{flag} is missing: give it, or set {variable}")


def _at_least_one(**values: int | None) -> None:
    for name, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {value}: give at least 1")


CANDIDATE_URI = f"models:/{names.MODEL}@{names.CANDIDATE}"
CHAMPION_URI = f"models:/{names.MODEL}@{names.CHAMPION}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Score a registered version on the fixed clips and masks of a held-out split."""

    model: str = CANDIDATE_URI
    """Version to score: models:/NAME@ALIAS or models:/NAME/NUMBER."""
    against: str = ""
    """Version to compare with on the same clips. Default: the champion of the same model, if there
    is one and it is another version."""
    data: str = field(default_factory=_data)
    """Data set: path or s3:// URI. Default: STTN_DATA."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    protocol: Literal["clean", "published"] = "clean"
    """`clean`: clips of each video with holes of the data set. `published`: what makes numbers
    comparable with the field's tables: whole videos at 432x240, holes grown by 4 pixels, the
    official windows; give the official masks by --masks, and compare means over frames. Frames of
    a data set were compressed once more than the field's."""
    split: str = "test"
    """Split of the data set."""
    clips_per_video: int | None = None
    """Clips taken from each video, evenly spaced. Default: the protocol's, 8."""
    frames_per_clip: int | None = None
    """Frames in a clip, consecutive; all of them given to the model at once. Default: the
    protocol's, 20."""
    masks: str = ""
    """Holes from elsewhere: folder or s3:// URI with <video>/00000.png …, nonzero = hole. Default:
    those of the data set."""
    flows: str = ""
    """Optical flow of the true frames, computed before by any network: folder or s3:// URI with
    <video>/forward/00000.flo and <video>/backward/00000.flo … Default: not measured."""
    i3d: str = ""
    """Weights of I3D for VFID, i3d_rgb_imagenet.pt or the same as safetensors: path or s3:// URI.
    Default: not measured."""
    i3d_sha256: str = ""
    """Of that file, to be sure. Default: not checked."""
    workers: int = 2
    """Processes for each version, one CPU each, and one GPU each where the cluster has GPUs."""
    promote: bool = False
    """Decide when it is done, as `promote.py` does, by the same rule."""
    refused_is_done: bool = False
    """With --promote: end with 0 also when the version is refused. A job is not to be tried again
    for a decision that is recorded."""
    rule: tyro.conf.OmitArgPrefixes[Rule] = field(default_factory=Rule)
    watch: bool = False
    """Evaluate every version of the model that is registered, as it comes. Any number of watchers
    may run; each version gets one recorded result."""
    until_idle: bool = False
    """With --watch: end when nothing waits any more."""
    leases: str = ""
    """Folder that all have in common who evaluate and promote in this registry: a path or s3://
    URI. Default: beside the sqlite database, or `leases` in STTN_STORAGE."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.data, "--data", "STTN_DATA")
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        _at_least_one(
            clips_per_video=self.clips_per_video,
            frames_per_clip=self.frames_per_clip,
            workers=self.workers,
        )
        if self.i3d_sha256 and not self.i3d:
            raise ValueError("--i3d-sha256 belongs to --i3d: give both")
        if self.promote and self.against and not self.against.endswith(f"@{names.CHAMPION}"):
            raise ValueError(
                f"--promote decides against the champion, --against is {self.against}: leave one"
            )
        if self.refused_is_done and not self.promote:
            raise ValueError("--refused-is-done belongs to --promote: give both")
        if self.until_idle and not self.watch:
            raise ValueError("--until-idle belongs to --watch: give both")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteConfig:
    """Apply the rule to the evaluation of a version; move the alias `champion`, or refuse."""

    model: str = CANDIDATE_URI
    """Version to decide on: models:/NAME@ALIAS or models:/NAME/NUMBER."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    rule: tyro.conf.OmitArgPrefixes[Rule] = field(default_factory=Rule)
    rollback: bool = False
    """Return to the version @previous instead of deciding."""
    why: str = ""
    """With --rollback: the reason, for the history."""
    history: bool = False
    """Print all decisions about the model instead of deciding."""
    leases: str = ""
    """Folder that all have in common who promote in this registry: a path or s3:// URI. Default:
    beside the sqlite database, or `leases` in STTN_STORAGE."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        if self.rollback and self.history:
            raise ValueError("--rollback and --history: give one of the two")
        if self.why and not self.rollback:
            raise ValueError("--why belongs to --rollback: give both")


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintConfig:
    """Fill the hole of a video with a registered version.

    The model works at the size it was trained at; its answer is scaled back and pasted into the
    hole, so that all other pixels are untouched before encoding.
    """

    video: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """A video file, a folder of pictures (one a frame, in order of their names), an s3:// URI of a
    file, or wheel:PACKAGE/FILE for one that an installed package carries."""
    mask: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MASK")]
    """What to fill (nonzero = hole): a picture, a folder of pictures (one a frame), a video, or
    boxes x,y,width,height in pixels with `;` between them, each with @from-to for some frames only,
    counted from 0, both included. As the video is displayed, whatever its rotation."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The video to write (.mp4, .mov, .mkv, .webm), replaced when it is there; or a name without an
    ending: a new folder of PNGs."""
    model: str = CHAMPION_URI
    """Version to use: models:/NAME@ALIAS or models:/NAME/NUMBER."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    native: bool = False
    """Work at the resolution of the video, on the part of each frame around its holes, instead of
    on whole frames scaled to the size that the version was trained at. Sharper in large frames, and
    blind to what is far from the holes."""
    invert_mask: bool = False
    """Fill what is not masked."""
    dilate: int = 0
    """Pixels by which holes grow in all directions, before anything else: masks are often tight."""
    feather: int = 0
    """Pixels around the hole over which the result goes over into the frame."""
    codec: Literal["h264", "hevc", "vp9", "av1"] = "h264"
    """Of the video."""
    crf: int | None = None
    """Quality, 0 (best) to 51, for vp9 and av1 to 63. Default: such that it looks like the source
    (18 for h264, 20 for hevc, 24 for vp9 and av1)."""
    lossless: bool = False
    """Instead: a file that decodes to the very pixels of the result (H.264 in RGB in .mp4 and .mov,
    FFV1 in .mkv). Not every player shows it."""
    audio: bool = True
    """Keep every audio track, as it is."""
    fps: float = 24.0
    """Frames per second of a folder of pictures; a file says its own."""
    compare: Path | None = None
    """A second video to write: the input with its hole in red, and the result beside it."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        for name in ("dilate", "feather"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} is {getattr(self, name)}: give 0 pixels or more")
        if self.fps <= 0:
            raise ValueError(f"--fps is {self.fps}: give more than 0")

    @property
    def pictures(self) -> bool:
        """Whether OUT is a folder of PNGs."""
        return not self.out.suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageConfig:
    """Trace a registered version back to its run, data, code and config."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = CHAMPION_URI
    """Version to trace: models:/NAME@ALIAS or models:/NAME/NUMBER."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    reproduce: bool = False
    """Score it once more as its evaluation did, and compare; VFID apart. Nothing is recorded."""
    data: str = ""
    """With --reproduce: where the data set lies now. Default: where it lay then."""
    tolerance: float = 1e-3
    """With --reproduce: the largest difference that counts as the same, in each column's unit. On
    one machine all are 0."""
    workers: int = 2
    """With --reproduce: processes for each version."""
    json: bool = False
    """Print the parts as one line of JSON too."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneConfig:
    """Delete old versions of a registered model, with their files.

    Three kinds stay: the newest, those that carry an alias, and those with a tag `protected` (of
    any value but "" and "false").
    """

    model: str = names.MODEL
    """Name of the registered model."""
    keep: int = 5
    """How many of the newest stay."""
    dry_run: bool = False
    """Say what would go, and delete nothing."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    leases: str = ""
    """Folder that all have in common who promote in this registry: a path or s3:// URI. Default:
    beside the sqlite database, or `leases` in STTN_STORAGE."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        _at_least_one(keep=self.keep)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """Write one self-contained page about a version: curves, metrics, frames, lineage."""

    subject: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_NAME|MODEL")] = ""
    """Name of a training run, or models:/NAME@ALIAS, or models:/NAME/NUMBER. Default: the
    champion, or the candidate when nothing was promoted."""
    out: Path
    """The page to write, *.html; replaced when it is there."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        if self.out.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"--out is {str(self.out)!r}: give a name that ends in .html")
