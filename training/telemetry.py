"""What a person and MLflow see of a run; only rank 0 writes.

Workers report to a `Board`, an actor that the driver reads to draw its progress bar: Ray Train's
own reports are throttled to one in two seconds and would hold the loop up.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mlops import names, tracking
from training.batch import to_tensors
from training.model.generator import Generator

PICTURE = "fixed_clip"  # name of the before/after pictures in MLflow
_PICTURED_FRAMES = 3


class Board:
    """The newest line about a run, from rank 0 to the driver."""

    def __init__(self) -> None:
        self._clips = 0
        self._note = ""

    def post(self, clips: int, note: str) -> None:
        """Replace the line: clips seen, and words about them."""
        self._clips, self._note = clips, note

    def read(self) -> tuple[int, str]:
        """The newest line."""
        return self._clips, self._note


class Telemetry:
    """Writes of one training run: scalars and pictures to MLflow, one line to the board.

    Args:
        tracking_uri: MLflow's.
        run_id: made once for the run, whatever restarts.
        board: handle of the driver's `Board` actor.
        clips: clips seen so far.
    """

    def __init__(self, tracking_uri: str, run_id: str, board: Any, clips: int) -> None:
        self._tracking_uri = tracking_uri
        self._run_id = run_id
        self._board = board
        self._clips = clips
        self._began = time.monotonic()

    def scalars(
        self, clips: int, losses: Mapping[str, float], learning_rate: float, waited_s: float
    ) -> None:
        """Log the means of an interval.

        Args:
            clips: clips seen at its end.
            losses: of the global batch, means over the interval.
            learning_rate: of the generator.
            waited_s: seconds of the interval in which rank 0 waited for data.
        """
        elapsed = max(time.monotonic() - self._began, 1e-9)
        speed = (clips - self._clips) / elapsed
        values = {
            **losses,
            names.LEARNING_RATE: learning_rate,
            names.CLIPS_PER_SECOND: speed,
            names.DATA_WAIT: waited_s / elapsed,
        }
        tracking.log_scalars(self._tracking_uri, self._run_id, clips, values)
        note = f"hole {losses[names.LOSS_HOLE]:.3f}, valid {losses[names.LOSS_VALID]:.3f}"
        self._board.post.remote(clips, note)
        self._clips, self._began = clips, time.monotonic()

    def picture(self, clips: int, image: NDArray[np.uint8]) -> None:
        """Log a before/after picture, uint8 [H, W, 3]."""
        tracking.log_picture(self._tracking_uri, self._run_id, PICTURE, image, clips)


@torch.no_grad()
def before_and_after(
    generator: Generator, frames: NDArray[np.uint8], masks: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """A picture of one clip: columns are frames; rows are the input, the result and the truth.

    Args:
        generator: whole, on the CPU.
        frames: uint8 [T, H, W, 3].
        masks: uint8 [T, H, W], nonzero = hole.

    Returns:
        uint8 [3 * H, n * W, 3] with n <= 3 frames spread over the clip.
    """
    truth, holes = to_tensors(frames, masks)
    shown = truth * (1 - holes)
    predicted = generator(shown.unsqueeze(0), holes.unsqueeze(0))[0]
    filled = shown + predicted * holes
    spread = np.linspace(0, len(frames) - 1, min(_PICTURED_FRAMES, len(frames))).round().astype(int)
    rows = [torch.cat(list(row[spread]), dim=-1) for row in (shown, filled, truth)]
    picture = torch.cat(rows, dim=-2).permute(1, 2, 0)  # [3, 3H, nW] -> [3H, nW, 3]
    pixels: NDArray[np.uint8] = ((picture + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    return pixels
