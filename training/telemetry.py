"""What a person and MLflow see of a run; only rank 0 writes.

Workers report to a `Board`, an actor that the driver reads to draw its progress bar: Ray Train's
own reports are throttled to one in two seconds and would hold the loop up.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.door import say
from mlops import names, tracking
from mlops.journal import Journal, Line, now_ms
from mlops.tracking import Point
from training.batch import to_tensors
from training.model.generator import Generator

PICTURE = "fixed_clip"  # name of the before/after pictures in MLflow
_PICTURED_FRAMES = 3
_CLOSE_S = 60.0  # for what is not sent yet at the end of a run


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


@dataclass(frozen=True, slots=True)
class Pace:
    """What turns clips per second into model FLOP utilisation."""

    flops_per_clip: float
    """Of a whole iteration, for one clip."""
    workers: int
    """Among which clips are shared."""
    peak: float
    """FLOPs per second that one worker's device reaches; 0 = not known."""


class Telemetry:
    """Writes of one training run: scalars and pictures to MLflow, one line to the board.

    MLflow is written to by a journal on this node's disk, so that nothing here waits for it.
    `with` it: at the end what is not sent yet is sent, for a while.

    Args:
        tracking_uri: MLflow's.
        run_id: made once for the run, whatever restarts.
        board: handle of the driver's `Board` actor.
        clips: clips seen so far.
        pace: of this run.
    """

    def __init__(self, tracking_uri: str, run_id: str, board: Any, clips: int, pace: Pace) -> None:
        self._journal = opened(tracking_uri, run_id)
        self._folder = folder_of(run_id)
        self._board = board
        self._pace = pace
        self._clips = clips
        self._began = time.monotonic()

    def __enter__(self) -> "Telemetry":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After an error the other workers wait for this one to be gone.
        left = self._journal.close(_CLOSE_S if error is None else 1.0)
        if left or self._journal.lost:
            say(
                f"MLflow: {left} lines not sent yet, {self._journal.lost} lost "
                f"({self._journal.trouble}); those in {self._folder} are sent by the next start"
            )

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
        flops = speed * self._pace.flops_per_clip / self._pace.workers
        values = {
            **losses,
            names.LEARNING_RATE: learning_rate,
            names.CLIPS_PER_SECOND: speed,
            names.DATA_WAIT: waited_s / elapsed,
            names.TERAFLOPS: flops / 1e12,
        }
        if self._pace.peak:
            values[names.UTILISATION] = flops / self._pace.peak
        self._journal.append({"clips": clips, "time_ms": now_ms(), "values": values})
        note = f"hole {losses[names.LOSS_HOLE]:.3f}, valid {losses[names.LOSS_VALID]:.3f}"
        self._board.post.remote(clips, note)
        self._clips, self._began = clips, time.monotonic()

    def picture(self, clips: int, image: NDArray[np.uint8]) -> None:
        """Log a before/after picture, uint8 [H, W, 3]."""
        file = self._folder / f"{clips:09d}.png"
        with contextlib.suppress(OSError):  # the line without its picture is passed over
            Image.fromarray(image).save(file)
        self._journal.append({"clips": clips, "picture": file.name})


def folder_of(run_id: str) -> Path:
    """Where this node keeps the lines of a run until MLflow has them."""
    return Path(tempfile.gettempdir()) / f"sttn-journal-{os.getuid()}" / run_id


def opened(tracking_uri: str, run_id: str) -> Journal:
    """The journal of a run on this node; what an earlier process left there is sent."""
    tracking.impatient()
    folder = folder_of(run_id)

    def send(lines: Sequence[Line]) -> None:
        points = [
            Point(line["clips"], line["time_ms"], line["values"])
            for line in lines
            if "values" in line
        ]
        tracking.log_points(tracking_uri, run_id, points)
        for line in lines:
            file = folder / line.get("picture", "")
            if file.is_file():
                with Image.open(file) as picture:
                    image = np.asarray(picture)
                tracking.log_picture(tracking_uri, run_id, PICTURE, image, line["clips"])
                file.unlink()

    return Journal(folder, send)


def replay(tracking_uri: str, run_id: str) -> None:
    """Send what a run left on this node, for a while; says what stays."""
    if folder_of(run_id).is_dir():
        left = opened(tracking_uri, run_id).close(_CLOSE_S)
        if left:
            say(f"MLflow: {left} lines of the run still wait in {folder_of(run_id)}")


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
