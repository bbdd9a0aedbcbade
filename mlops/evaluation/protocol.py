"""Settings of an evaluation (how many clips, which holes, which metrics) and their digest. Pure."""

from dataclasses import asdict, dataclass

from data_pipeline.cli.canonical import sha256_of_json
from mlops.evaluation import columns, floors
from mlops.evaluation.columns import COLUMNS, Column
from mlops.tracking import names

PSNR_CAP_DB = 100.0  # stands for inf, which would make every mean it enters inf

_SCHEMA = 4  # of the meaning of all this, and of what each classical fill answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Settings that, with the data set's digest, fix every pixel that is compared."""

    name: str
    """Name of the preset it is, or was made from."""
    split: str = "test"
    """Split of the data set."""
    clips_per_video: int
    """Evenly spaced; 0 = the whole video is one clip."""
    frames_per_clip: int
    """Consecutive, all given to the model at once; 0 with whole videos."""
    dilation: int = 0
    """Pixels by which holes are grown, along rows and columns (a diamond)."""
    official_windows: bool = False
    """A model that knows the official driver's windows and 8-bit steps uses them."""
    width: int = 0
    """Width of the data set that this is for, pixels; 0 = any."""
    height: int = 0
    masks: str = ""
    """URI of a folder <video>/00000.png … whose nonzero pixels are the holes; "" = those of the
    data set."""
    flows: str = ""
    """URI of a folder of optical flow (`flow.given`); "" = none given."""
    i3d_sha256: str = ""
    """Digest of the weights of I3D; "" = VFID is not measured."""

    def digest(self) -> str:
        """Sha256 over all of it and the constants of the metrics and fills."""
        constants = {
            "schema": _SCHEMA,
            "frame_window": columns.FRAME_WINDOW,
            "hole_window": columns.HOLE_WINDOW,
            "ring_pixels": floors.RING_PIXELS,
            "telea_pixels": floors.TELEA_PIXELS,
            "psnr_cap_db": PSNR_CAP_DB,
        }
        return sha256_of_json({**asdict(self), **constants})

    def measured(self) -> tuple[Column, ...]:
        """The columns that this protocol has numbers for."""
        missing = self.not_measured()
        return tuple(column for column in COLUMNS if column.key not in missing)

    def not_measured(self) -> dict[str, str]:
        """Key of each column that there are no numbers for -> what to give."""
        lacking = {}
        if not self.flows:
            lacking[names.WARPING_GIVEN] = "give --flows FOLDER"
        if not self.i3d_sha256:
            lacking[names.VFID] = "give --i3d FILE of weights"
        return lacking


PROTOCOLS = {
    "clean": Protocol(name="clean", clips_per_video=8, frames_per_clip=20),
    "published": Protocol(
        name="published",
        clips_per_video=0,
        frames_per_clip=0,
        dilation=4,
        official_windows=True,
        width=432,
        height=240,
    ),
}
