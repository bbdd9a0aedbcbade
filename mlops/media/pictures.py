"""Drawings of a clip for people: a strip of frames, and a short video.

Legend: `T` frames, `H`, `W` pixels; frames uint8 RGB [T,H,W,3]; masks uint8 [T,H,W], 1 = hole.
"""

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.cli.scratch import scratch_folder
from mlops.media.encoders import Encoding
from mlops.media.encoding import VideoWriter
from mlops.media.video import Timed, VideoFacts

FLOOR = "best classical fill"  # of the clip; left out where none was drawn
STRIP_ROWS = ("input", "hole", FLOOR, "result", "truth")
CLIP_COLUMNS = ("input", FLOOR, "result", "truth")

_STRIP_COLUMNS = 4  # frames shown of a clip
_MASKED = 128  # grey shown in the hole of the strip's second row
_TINT = np.array([230, 60, 50])  # shown over the hole
_FPS = 8

Frames = NDArray[np.uint8]


def strip(frames: Frames, masks: Frames, floor: Frames | None, filled: Frames) -> bytes:
    """PNG with a row for each of `STRIP_ROWS`, the hole tinted and grey; columns are frames.

    Args:
        frames: the truth, uint8 [T,H,W,3].
        masks: uint8 [T,H,W].
        floor: what a classical fill makes of it, uint8 [T,H,W,3]; None = no such row.
        filled: what the model makes of it, uint8 [T,H,W,3].
    """
    chosen = np.linspace(0, len(frames) - 1, min(_STRIP_COLUMNS, len(frames))).astype(int)
    truth, result, masks = frames[chosen], filled[chosen], masks[chosen]
    grey = np.where(masks[..., np.newaxis] != 0, np.uint8(_MASKED), truth)
    beside = () if floor is None else (floor[chosen],)
    rows = (tinted(truth, masks), grey, *beside, result, truth)
    whole = [np.concatenate(list(row), axis=1) for row in rows]
    png = io.BytesIO()
    Image.fromarray(np.concatenate(whole, axis=0)).save(png, "PNG")
    return png.getvalue()


def clip(frames: Frames, masks: Frames, floor: Frames | None, filled: Frames) -> bytes:
    """MP4 with `CLIP_COLUMNS` side by side, slow enough to look at; arguments as of `strip`."""
    beside = () if floor is None else (floor,)
    with scratch_folder("clip") as folder:
        file = folder / "clip.mp4"
        write_video(file, np.concatenate((tinted(frames, masks), *beside, filled, frames), axis=2))
        return file.read_bytes()


def tinted(frames: Frames, masks: Frames) -> Frames:
    """The frames with red over their holes."""
    hole = masks[..., np.newaxis] != 0
    return np.where(hole, (frames // 3 + _TINT * 2 // 3).astype(np.uint8), frames)


def write_video(file: Path, frames: Frames) -> None:
    """Write frames as an MP4.

    Raises:
        av.FFmpegError, OSError: it cannot be written.
    """
    count, height, width = frames.shape[:3]
    like = VideoFacts(path=file, width=width, height=height, frames=count, fps=Fraction(_FPS))
    with VideoWriter(file, like, Encoding()) as writer:
        for frame in frames:
            writer.write(Timed(frame, None))
