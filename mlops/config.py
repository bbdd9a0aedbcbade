"""Options of each command of this room. Frozen; units in the line of each field.

Nothing here imports torch, ray, mlflow or av, so that `--help` answers at once.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from data_pipeline.cli.bounds import bounded, refuse_out_of_bounds
from data_pipeline.cli.command import UserError
from mlops.starter.files import STARTER
from mlops.tracking import names


def _from_environment(variable: str) -> str:
    return os.environ.get(variable, "")


def _data() -> str:
    return _from_environment("STTN_DATA")


def _tracking_uri() -> str:
    return _from_environment("MLFLOW_TRACKING_URI")


def _require(value: str, flag: str, variable: str) -> None:
    if not value:
        raise ValueError(f"{flag} is missing: give it, or set {variable}")


def _require_lossless(what: str, path: Path) -> None:
    if path.suffix.lower() not in ("", ".mp4", ".mov", ".mkv"):
        raise ValueError(
            f"{what} ends in {path.suffix!r}: give .mp4, .mov, .mkv, or a name without an ending "
            "for a folder of PNGs"
        )


def _require_registry(config: "InpaintConfig | InpaintBatchConfig | ServeConfig") -> None:
    if config.model not in ("", STARTER):
        _require(config.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")


def _chosen(config: "InpaintConfig | InpaintBatchConfig | ServeConfig") -> str:
    return config.model or (CHAMPION_URI if config.tracking_uri else STARTER)


SEGMENT_FRAMES = 2000
_WINDOW = 40  # frames that a model which cannot stream is given at once

CANDIDATE_URI = f"models:/{names.MODEL}@{names.CANDIDATE}"
CHAMPION_URI = f"models:/{names.MODEL}@{names.CHAMPION}"


# Old flags, and what they are called now; they go with the next release.
RENAMED = {
    "--feather": "--blend-width",
    "--least-videos": "--min-videos",
    "--most-megabytes": "--max-megabytes",
    "--most-seconds-per-frame": "--max-seconds-per-frame",
    "--refused-is-done": "--exit-zero-on-reject",
}

# Titles of options in `--help`; those that matter first stand above them, without a title.
EVALUATE_GROUPS = {
    "protocol": ("split", "clips_per_video", "frames_per_clip", "masks", "against"),
    "metric": ("flows", "i3d", "i3d_sha256"),
    "watch": ("watch", "until_idle"),
    "job": ("workers", "leases", "exit_zero_on_reject", "json"),
}
PROMOTE_GROUPS = {"job": ("leases", "json")}
INPAINT_GROUPS = {
    "mask": ("mask_threshold", "invert_mask", "dilate", "blend_width"),
    "encoding": ("codec", "crf", "lossless", "audio", "fps"),
    "measurement": ("truth", "json"),
    "flow": ("flows",),
    "resume": ("segment_frames",),
}
INPAINT_BATCH_GROUPS = {
    "mask": INPAINT_GROUPS["mask"],
    "encoding": INPAINT_GROUPS["encoding"],
    "measurement": ("truth",),
    "flow": ("flows",),
    "job": ("workers", "max_rejected", "segment_frames", "json"),
}
SERVE_GROUPS = {
    "limit": ("max_upload_mb", "max_frames", "max_pixels", "max_jobs", "keep_hours"),
    "access": ("host", "port", "token_file", "allow_uris"),
    "replica": ("min_replicas", "max_replicas", "cpus"),
}
MASKS_GROUPS = {
    "weights": ("sam2_weights", "sam2_config"),
    "footage": ("fps", "json"),
}
BURN_IN_GROUPS = {
    "overlay": ("frames_per_text", "font", "logo_opacity"),
    "footage": ("fps", "json"),
}
LINEAGE_GROUPS = {"reproduction": ("reproduce", "data", "tolerance", "workers")}
PRUNE_GROUPS = {"job": ("leases", "json")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Thresholds of the promotion rule."""

    margin_db: float = bounded(0.1, 0, 100)
    """How far below the champion's hole PSNR still counts as as good, dB."""
    confidence: float = bounded(0.95, 0.5, 0.999999)
    """Confidence with which the candidate must be within the margin, 0.5 to 1."""
    min_videos: int = bounded(10, 2, 10**6)
    """Number of videos scored for both below which a stricter rule holds: not lower on average, and
    on no video by more than the margin."""
    resamples: int = bounded(10_000, 1000, 10**6)
    """Resamples of the bootstrap."""
    bootstrap_seed: int = bounded(0, 0, 2**63 - 1)
    """Seed of its draws."""
    floors: Literal["classical", "trivial"] = "classical"
    """`classical`: the candidate must lie above the best classical fill in the hole. `trivial`:
    above the means of the frame and of a ring only, for smoke tests; every decision says so."""
    floor_db: float = bounded(0.0, 0, 100)
    """Hole PSNR below which nothing is promoted, dB; 0 = no floor but the fills."""
    max_seconds_per_frame: float = bounded(0.0, 0, 10**6)
    """Budget for the model's time, s; 0 = none."""
    max_megabytes: float = bounded(0.0, 0, 10**9)
    """Budget for the size of the version's files, 1e6 bytes; 0 = none."""

    def __post_init__(self) -> None:
        refuse_out_of_bounds(self)


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
    clips_per_video: int | None = bounded(None, 1, 10**6)
    """Clips taken from each video, evenly spaced. Default: the protocol's, 8."""
    frames_per_clip: int | None = bounded(None, 1, 10**6)
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
    """Expected sha256 of that file. Default: not checked."""
    workers: int = bounded(2, 1, 10**5)
    """Processes for each version, one CPU each, and one GPU each where the cluster has GPUs."""
    promote: bool = False
    """Decide when it is done, as `promote.py` does, by the same rule."""
    exit_zero_on_reject: bool = False
    """With --promote: exit code 0 also when the version is rejected, so that a job is not retried
    for a decision that is recorded."""
    rule: tyro.conf.OmitArgPrefixes[Rule] = field(default_factory=Rule)
    watch: bool = False
    """Evaluate every version of the model that is registered, as it comes. Any number of watchers
    may run; each version gets one recorded result."""
    until_idle: bool = False
    """With --watch: end when no version is pending."""
    leases: str = ""
    """Folder of the leases, shared by all who evaluate and promote in this registry: a path or
    s3:// URI. Default: beside the sqlite database, or `leases` in STTN_STORAGE."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.data, "--data", "STTN_DATA")
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        refuse_out_of_bounds(self)
        if self.i3d_sha256 and not self.i3d:
            raise ValueError("--i3d-sha256 belongs to --i3d: give both")
        if self.promote and self.against and not self.against.endswith(f"@{names.CHAMPION}"):
            raise ValueError(
                f"--promote decides against the champion, --against is {self.against}: leave one"
            )
        if self.promote and self.split == names.TRAINING_SPLIT:
            raise ValueError(
                f"--promote decides by held-out videos, --split is {self.split}, on which the "
                "model was trained: leave one"
            )
        if self.exit_zero_on_reject and not self.promote:
            raise ValueError("--exit-zero-on-reject belongs to --promote: give both")
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
    """Reason for --rollback, for the history."""
    history: bool = False
    """Print all decisions about the model instead of deciding."""
    leases: str = ""
    """Folder of the leases, shared by all who promote in this registry: a path or s3:// URI.
    Default: beside the sqlite database, or `leases` in STTN_STORAGE."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        if self.rollback and self.history:
            raise ValueError("--rollback and --history: give one of the two")
        if self.why and not self.rollback:
            raise ValueError("--why belongs to --rollback: give both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """How holes are found and filled, and how the result is encoded: for one video and for many."""

    native: bool = False
    """Work at the resolution of the video, on the part of each frame around its holes, instead of
    on whole frames scaled to the size that the version was trained at. Sharper in large frames, and
    blind to what is far from the holes."""
    propagate: bool = False
    """Propagate known pixels of other frames along optical flow into the holes before the version
    gets them; pixels that are sure count as known. A version trained with generator.fill propagate
    does so anyway."""
    mask_threshold: int | None = bounded(None, 0, 254)
    """Brightness, 0 to 255, above which a pixel of the mask is hole. Default: 0, and 48 in files
    that were compressed with loss (JPEG, lossy WebP, videos), whose black is not quite black."""
    invert_mask: bool = False
    """Fill what is not masked."""
    dilate: int = bounded(0, 0, 1000)
    """Pixels by which holes grow in all directions, before anything else: masks are often tight."""
    blend_width: int = bounded(0, 0, 1000)
    """Blend width: pixels around the hole over which the result is blended into the frame."""
    codec: Literal["h264", "hevc", "vp9", "av1"] = "h264"
    """Codec of the video that is written."""
    crf: int | None = bounded(None, 0, 63)
    """Quality, 0 (best) to 51, for vp9 and av1 to 63. Default: such that it looks like the source
    (18 for h264, 20 for hevc, 24 for vp9 and av1)."""
    lossless: bool = False
    """Instead: a file that decodes to the very pixels of the result (H.264 in RGB in .mp4 and .mov,
    FFV1 in .mkv, which has more than 8 bits too). Not every player shows it."""
    audio: bool = True
    """Keep every audio track, as it is."""
    fps: float = bounded(24.0, 0, 1000, above=True)
    """Frames per second of a folder of pictures; a file says its own."""
    segment_frames: int = bounded(SEGMENT_FRAMES, 2 * _WINDOW, 10**9)
    """Length of a segment in frames: an interrupted run goes on after the last one that it filled.
    At each the version begins anew, with the 80 frames before it. A multiple of 40."""

    def __post_init__(self) -> None:
        refuse_out_of_bounds(self)
        if self.segment_frames % _WINDOW:
            raise UserError(
                f"--segment-frames is {self.segment_frames}: give a multiple of {_WINDOW}, so that "
                "the windows of a model stay where they are"
            )


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
    """Holes to fill: a picture, a folder of pictures or an animation (one a frame), a video, or
    boxes x,y,width,height in pixels with `;` between them, each with @from-to for some frames only,
    counted from 0, both included. As the video is displayed, whatever its rotation. A pixel is hole
    where the mask, shown on black, is not black (--mask-threshold)."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The video to write (.mp4, .mov, .mkv, .webm), replaced when it is there; or a name without an
    ending: a new folder of PNGs."""
    model: str = ""
    """Version to use: models:/NAME@ALIAS, models:/NAME/NUMBER, or starter, the small model that
    comes with the program. Default: models:/sttn@champion; starter where no MLflow is named."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    filling: Annotated[Filling, tyro.conf.arg(name="")] = field(default_factory=Filling)
    flows: str = ""
    """Optical flow for --propagate, computed before by any network: a folder or s3:// URI with
    forward/00000.flo (from frame 0 to 1) and backward/00000.flo (from frame 1 to 0) …, at the size
    that the version works at; --propagate is then meant too. Default: OpenCV's DIS, which needs no
    weights."""
    compare: Path | None = None
    """A second video to write: the input with its hole in red, and the result beside it."""
    truth: str = ""
    """Ground truth, given as VIDEO is: at the end the PSNR inside the holes is printed, of the
    result before it is encoded, and of two fills that need no model. Default: not measured."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require_registry(self)

    @property
    def version(self) -> str:
        """`model`, or its default."""
        return _chosen(self)

    @property
    def pictures(self) -> bool:
        """True when OUT is a folder of PNGs."""
        return not self.out.suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class InpaintBatchConfig:
    """Fill the holes of many videos with one registered version."""

    inputs: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INPUTS")]
    """A folder or s3:// prefix with videos, also in folders below it, of which one with pictures
    only is a video too; or a table, .csv or .parquet, with a column `video` and, where they are
    wanted, `mask`, `out`, `truth`, `flows`, `compare`. Paths in a table are relative to it; a video
    may be wheel:PACKAGE/FILE."""
    out: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """Folder or s3:// prefix to write: for each video <name>.mp4, or what the table's `out` says;
    then results.parquet and manifest.json."""
    masks: str = ""
    """Holes of the videos: a picture, a video or boxes x,y,width,height, one for all; or a folder
    or s3:// prefix that has for each video a file or a folder of pictures of its name, whatever
    the ending. A table's `mask` goes first."""
    compare: str = ""
    """Folder below OUT for a second video of each: the input with its hole in red, and the result
    beside it. A table's `compare`, a path below OUT, goes first. Default: none."""
    model: str = ""
    """Version to use: models:/NAME@ALIAS, models:/NAME/NUMBER, or starter, the small model that
    comes with the program. An alias is looked up once, at the start. Default:
    models:/sttn@champion; starter where no MLflow is named."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    workers: int = bounded(2, 1, 10**5)
    """Processes that each load the version, one CPU each, and one GPU each where the cluster has
    GPUs."""
    max_rejected: float = bounded(0.1, 0, 1)
    """Share of the videos that may be rejected, 0 to 1; with more the command ends with 1."""
    filling: Annotated[Filling, tyro.conf.arg(name="")] = field(default_factory=Filling)
    flows: str = ""
    """Optical flow for --propagate, computed before by any network: a folder or s3:// prefix that
    has for each video a folder of its name with forward/00000.flo and backward/00000.flo …, at the
    size that the version works at; --propagate is then meant too. A table's `flows` goes first.
    Default: OpenCV's DIS."""
    truth: str = ""
    """Ground truth: a folder or s3:// prefix that has for each video one of its name, whatever the
    ending; results.parquet then has the PSNR inside the holes, of the result before it is encoded
    and of two fills that need no model. A table's `truth` goes first. Default: not measured."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require_registry(self)
        refuse_out_of_bounds(self)

    @property
    def version(self) -> str:
        """`model`, or its default."""
        return _chosen(self)


SERVE_TOKEN = "STTN_SERVE_TOKEN"  # the variable that holds the token of the service
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Serve a registered version over HTTP, with a page to use it by.

    The API is described at /docs of the service. Whoever has the token may do everything.
    """

    model: str = ""
    """Version to serve: models:/NAME@ALIAS, models:/NAME/NUMBER, or starter, the small model that
    comes with the program. An alias is followed. Default: models:/sttn@champion; starter where no
    MLflow is named."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    folder: Path = Path("service")
    """Where videos, jobs and results are kept, for one service; it goes on with the jobs that it
    finds there. On a Ray cluster of several nodes: a folder that all of them share."""
    host: str = "127.0.0.1"
    """Address to listen on; one that other machines reach needs a token. The service does not
    speak TLS: put a proxy that does in front of it."""
    port: int = bounded(8000, 1, 65535)
    """Port to listen on."""
    token_file: Path | None = None
    """File with the token that clients must send (Authorization: Bearer …), 16 characters at
    least. Default: the variable STTN_SERVE_TOKEN; none on loopback."""
    allow_uris: tuple[str, ...] = ()
    """Folders or s3:// prefixes from which videos and masks may be given by URI instead of being
    uploaded. Default: none."""
    max_upload_mb: int = bounded(2000, 1, 10**6)
    """Largest request, 1e6 bytes."""
    max_frames: int = bounded(20_000, 1, 10**9)
    """Longest video, frames."""
    max_pixels: int = bounded(4096 * 2304, 1, 2**27)
    """Largest frame, pixels."""
    max_jobs: int = bounded(100, 1, 10**6)
    """Jobs that are not finished, at most."""
    keep_hours: float = bounded(24.0, 0, 24 * 365, above=True)
    """Hours that results and videos are kept after they were made or last used."""
    min_replicas: int = bounded(1, 1, 10**4)
    """Processes that hold the version and fill one video at a time, at least; each has a GPU where
    there are GPUs."""
    max_replicas: int = bounded(1, 1, 10**4)
    """Such processes at most; Ray Serve adds some while jobs wait."""
    cpus: int | None = bounded(None, 1, 10**4)
    """CPU cores of each. Default: those of this machine, shared by --max-replicas; 1 on a cluster
    that RAY_ADDRESS names."""

    def __post_init__(self) -> None:
        _require_registry(self)
        refuse_out_of_bounds(self)
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"--max-replicas is {self.max_replicas}, --min-replicas {self.min_replicas}: give "
                "at least as many"
            )
        if not (self.on_loopback or self.token_file or _from_environment(SERVE_TOKEN)):
            raise ValueError(
                f"--host {self.host} can be reached from other machines: give --token-file, or "
                f"set {SERVE_TOKEN}"
            )

    @property
    def version(self) -> str:
        """`model`, or its default."""
        return _chosen(self)

    @property
    def on_loopback(self) -> bool:
        """True when only this machine reaches the service."""
        return self.host in _LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class MasksConfig:
    """Make the masks of a whole video from marks on one frame or several, or of its overlays."""

    video: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """A video file, a folder of pictures (one a frame, in order of their names), an s3:// URI of a
    file, or wheel:PACKAGE/FILE for one that an installed package carries."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The video of masks to write (.mp4, .mov, .mkv), always lossless, replaced when it is there;
    or a name without an ending: a new folder of PNGs. White = the object; `inpaint.py` takes it as
    MASK."""
    box: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[X,Y,WIDTH,HEIGHT[@FRAME] ...]")] = ()
    """Boxes around the object, in pixels as the video is displayed, each on a frame, counted from
    0; without @FRAME on the first. A tight box gives a tight mask. Further frames are corrections:
    the mask is made anew from each, in both directions."""
    point: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[X,Y[@FRAME] ...]")] = ()
    """Points on the object, likewise."""
    point_off: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[X,Y[@FRAME] ...]")] = ()
    """Points that are not on it, where a box, a mask or points take too much."""
    mask: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[FILE[@FRAME] ...]")] = ()
    """Pictures of the object's mask, of the video's size, white = the object; kept exactly."""
    gone: Annotated[tuple[int, ...], tyro.conf.arg(metavar="[FRAME ...]")] = bounded((), 0, 10**9)
    """Frames in which the object is not to be seen."""
    overlays: bool = False
    """Instead of an object: find what is burnt in and stands still while the picture moves (a logo,
    a time, lines of subtitles), and mask it in the frames that have it."""
    preview: Path | None = None
    """A second video to write: the input with what is masked in red."""
    sam2_weights: Path | None = None
    """Weights of SAM 2, to track with it instead of without weights; needs the package sam2."""
    sam2_config: str = "configs/sam2.1/sam2.1_hiera_l.yaml"
    """Name of the configuration in that package which fits the weights."""
    fps: float = bounded(24.0, 0, 1000, above=True)
    """Frames per second of a folder of pictures; a file says its own."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        marked = bool(self.box or self.point or self.mask)
        if self.overlays and (marked or self.point_off or self.gone):
            raise ValueError("--overlays finds them by itself: leave the marks out, or --overlays")
        if self.overlays and self.sam2_weights:
            raise ValueError("--overlays needs no --sam2-weights: leave one")
        if not marked and not self.overlays:
            raise ValueError(
                "nothing says what to mask: give --box, --point or --mask on a frame, or --overlays"
            )
        _require_lossless("OUT", self.out)
        if self.preview and self.out.absolute() == self.preview.absolute():
            raise ValueError(f"OUT and --preview are both {self.out}: give two names")
        refuse_out_of_bounds(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnInConfig:
    """Burn subtitles and a logo into a video: something to remove whose truth is known."""

    video: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """A video file, a folder of pictures (one a frame, in order of their names), an s3:// URI of a
    file, or wheel:PACKAGE/FILE for one that an installed package carries."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The video to write (.mp4, .mov, .mkv), replaced when it is there; or a name without an
    ending: a new folder of PNGs."""
    masks: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MASKS")]
    """The video or folder of masks to write, always lossless: white where something was burnt in,
    black elsewhere. Around a subtitle the box of each of its lines, around the logo its disc, both
    1 % of the frame's shorter side larger (2 pixels at least): as tools that find subtitles mask
    them."""
    subtitle: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[TEXT ...]")] = (
        "Where were you last night?",
        "At home. It rained the whole time.",
        "Then who opened the garden gate?",
        "Nobody. The wind did, I suppose.",
    )
    """Texts, shown one after the other and then again from the first; a long one takes two lines,
    or smaller letters. Without a TEXT: no subtitles."""
    frames_per_text: int = bounded(40, 1, 10**9)
    """Frames that each text stays."""
    font: Path | None = None
    """A .ttf or .otf file. Default: Pillow's own font, which has the letters of English only."""
    logo: bool = False
    """A logo that drifts across the upper part of the frame, from side to side in 7 seconds."""
    logo_opacity: float = bounded(0.8, 0, 1, above=True)
    """Opacity of the logo, above 0 and up to 1."""
    lossless: bool = True
    """Write OUT so that it decodes to the very pixels (H.264 in RGB in .mp4 and .mov, FFV1 in
    .mkv): outside of the masks it equals VIDEO. Otherwise H.264 as most films have it, which every
    player shows, and whose blur around letters a mask has to cover."""
    audio: bool = True
    """Keep every audio track in OUT, as it is."""
    fps: float = bounded(24.0, 0, 1000, above=True)
    """Frames per second of a folder of pictures; a file says its own."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        if not self.subtitle and not self.logo:
            raise ValueError("nothing to burn in: give --subtitle TEXT, or --logo, or both")
        if not all(text.split() for text in self.subtitle):
            raise ValueError("--subtitle has an empty TEXT: give words, or leave it out")
        if self.out.absolute() == self.masks.absolute():
            raise ValueError(f"OUT and MASKS are both {self.out}: give two names")
        for what, path in (("OUT", self.out), ("MASKS", self.masks)):
            _require_lossless(what, path)
        refuse_out_of_bounds(self)


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
    """URI of the data set for --reproduce. Default: that of the evaluation."""
    tolerance: float = bounded(1e-3, 0, 100)
    """Largest difference that --reproduce takes as equal, in each column's unit. On
    one machine all are 0."""
    workers: int = bounded(2, 1, 10**5)
    """Processes of --reproduce for each version."""
    json: bool = False
    """Print the parts as one line of JSON too."""

    def __post_init__(self) -> None:
        refuse_out_of_bounds(self)
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneConfig:
    """Delete old versions of a registered model, with their files.

    The newest stay, those that carry an alias, those with a tag `protected` (of any value but ""
    and "false"), the champions that two rollbacks would return to, and what others have copied.
    """

    model: str = names.MODEL
    """Name of the registered model."""
    keep: int = bounded(5, 1, 10**6)
    """How many of the newest stay."""
    dry_run: bool = False
    """Say what would go, and delete nothing."""
    tracking_uri: str = field(default_factory=_tracking_uri)
    """MLflow: sqlite:////absolute/path/mlflow.db or http(s)://… Default: MLFLOW_TRACKING_URI."""
    leases: str = ""
    """Folder of the leases, shared by all who promote in this registry: a path or s3:// URI.
    Default: beside the sqlite database, or `leases` in STTN_STORAGE."""
    json: bool = False
    """End with one line of JSON."""

    def __post_init__(self) -> None:
        _require(self.tracking_uri, "--tracking-uri", "MLFLOW_TRACKING_URI")
        refuse_out_of_bounds(self)


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
