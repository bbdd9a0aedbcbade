"""Every column of an evaluation: what it is, its unit, over what it is averaged, what is better."""

from dataclasses import dataclass
from typing import Literal

from mlops.tracking import names

# Windows of SSIM, pixels.
FRAME_WINDOW = 65  # what FuseFormer, E2FGVI and ProPainter publish with
HOLE_WINDOW = 11  # wide enough for structure, narrow enough to stay near the hole

Over = Literal["frames", "frames with a hole", "pairs of frames", "clips at once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One number that is measured of each subject."""

    key: str
    """In tables, and in MLflow after `<subject>/`."""
    label: str
    """For people."""
    unit: str
    """"" = a pure number."""
    digits: int
    """Shown behind the point."""
    more_is_better: bool
    over: Over
    """What a clip's value is the mean over, each counting the same; a video's and the mean over
    frames are made of these too. "clips at once": one number for all clips."""
    definition: str


COLUMNS = (
    Column(
        key=names.HOLE_PSNR,
        label="Hole PSNR",
        unit="dB",
        digits=2,
        more_is_better=True,
        over="frames with a hole",
        definition="10 log10(255^2 / mean squared error over the hole's pixels and channels); "
        "equal pixels count as 100 dB.",
    ),
    Column(
        key=names.HOLE_SSIM,
        label="Hole SSIM",
        unit="",
        digits=3,
        more_is_better=True,
        over="frames with a hole",
        definition=f"SSIM map, uniform window of {HOLE_WINDOW} pixels, averaged over the hole's "
        "pixels.",
    ),
    Column(
        key=names.PSNR,
        label="Frame PSNR",
        unit="dB",
        digits=2,
        more_is_better=True,
        over="frames",
        definition="10 log10(255^2 / mean squared error over all pixels and channels of the "
        "composited frame); equal frames count as 100 dB, where the field's scripts say inf.",
    ),
    Column(
        key=names.SSIM,
        label="Frame SSIM",
        unit="",
        digits=4,
        more_is_better=True,
        over="frames",
        definition=f"SSIM of the composited frame, uniform window of {FRAME_WINDOW} pixels, sample "
        f"covariance, a border of {FRAME_WINDOW // 2} pixels left out: what the field publishes "
        f"({HOLE_WINDOW} pixels on frames too small).",
    ),
    Column(
        key=names.WARPING_DIS,
        label="Warping error (DIS)",
        unit="",
        digits=5,
        more_is_better=False,
        over="pairs of frames",
        definition="Mean squared difference, pixels in 0..1, of a frame and the next one warped "
        "to it by the optical flow of the true frames, where nothing is occluded. Flow by DIS of "
        "OpenCV, which needs no weights: compare with other DIS columns only.",
    ),
    Column(
        key=names.WARPING_GIVEN,
        label="Warping error (flow given)",
        unit="",
        digits=5,
        more_is_better=False,
        over="pairs of frames",
        definition="The same with flow from --flows, such as FlowNet2's, which published numbers "
        "use (times 100 or 1000).",
    ),
    Column(
        key=names.VFID,
        label="VFID",
        unit="",
        digits=3,
        more_is_better=False,
        over="clips at once",
        definition="Frechet distance of I3D features of results and true frames, a vector per "
        "clip; batch statistics of each clip, pixels in 0..1, as published. Weights by --i3d.",
    ),
)

TIME = Column(
    key=names.SECONDS_PER_FRAME,
    label="Time",
    unit="s/frame",
    digits=3,
    more_is_better=False,
    over="frames",
    definition="Wall time of the model alone.",
)

BY_KEY = {column.key: column for column in (*COLUMNS, TIME)}


def table() -> str:
    """All columns with unit, direction and definition, a paragraph each."""
    return "\n\n".join(
        f"{column.key}{column.unit and f' [{column.unit}]'}: {column.definition} "
        f"{'More' if column.more_is_better else 'Less'} is better; over {column.over}."
        for column in (*COLUMNS, TIME)
    )
