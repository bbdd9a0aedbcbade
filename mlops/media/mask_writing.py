"""Masks of a video out: black and white and lossless, as `mask_reading.py` reads them exactly.

Legend: `H`, `W` pixels as displayed; a mask is [H,W], nonzero or True = hole.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops.media.encoders import Encoding
from mlops.media.encoding import PictureWriter, VideoWriter, Writer
from mlops.media.video import NO_COLOUR, Timed, VideoFacts

_HOLE = 255


def mask_writer(path: Path, facts: VideoFacts) -> Writer:
    """A writer of masks, whatever the colours of their video are.

    Args:
        path: .mp4, .mov, .mkv, or a name without an ending: a folder of PNGs.
        facts: of the video they are for; its times are kept.

    Raises:
        UserError, DiskFull: it cannot be made.
    """
    if not path.suffix:
        return PictureWriter(path)
    plain = replace(facts, depth=8, pixels="rgb24", colour=NO_COLOUR)
    return VideoWriter(path, plain, Encoding(lossless=True), alone=True)


def picture_of(mask: NDArray[Any], pts: int | None) -> Timed:
    """A mask as a frame to write, white = hole."""
    white = np.where(mask != 0, np.uint8(_HOLE), np.uint8(0))
    return Timed(np.repeat(white[..., np.newaxis], 3, axis=2), pts)
