"""How near a result comes to what was behind its holes, beside two fills that need no model.

Everything streams: a result is held back by as many frames as propagation looks ahead.

Legend: `H`, `W` pixels; a frame is uint8 RGB [H,W,3]; a hole is [H,W], nonzero = to be filled.
"""

import math
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli.command import UserError
from mlops.evaluation.floor_fills import FILLS
from mlops.evaluation.metrics import hole_psnr_db
from mlops.evaluation.protocol import PSNR_CAP_DB
from mlops.fills.propagation import propagated
from mlops.media import video
from mlops.media.holes import Hole
from mlops.media.video import Timed, VideoFacts
from mlops.tracking import names

Frame = NDArray[np.uint8]
Mask = NDArray[np.uint8]

MODEL, PROPAGATION, TELEA = "model", "propagation", "telea"


class Result(Protocol):
    """One frame of a result, with what it was made from."""

    @property
    def source(self) -> Timed:
        """The frame with its hole."""

    @property
    def hole(self) -> Hole:
        """The hole of the frame."""

    @property
    def result(self) -> Frame:
        """The filled frame, before encoding."""


R = TypeVar("R", bound=Result)


@final
class Truth:
    """Compares results with the video that shows what was behind their holes.

    Args:
        path: a video file or a folder of pictures.
        facts: the video with the holes.

    Raises:
        UserError: the two differ in size or in their number of frames, or the truth is no video.
    """

    def __init__(self, path: Path, facts: VideoFacts) -> None:
        found = video.facts_of(path, facts.fps)
        if (found.width, found.height) != (facts.width, facts.height):
            raise UserError(
                f"truth {path} is {found.width}x{found.height}, video {facts.path} is "
                f"{facts.width}x{facts.height}: give what was behind the hole at the video's size"
            )
        # Packets may be more than frames (edit lists): decode before saying no.
        if found.frames != facts.frames:
            frames, there = video.count(facts.path), video.count(path)
            if frames != there:
                raise UserError(
                    f"truth {path} has {there} frames, video {facts.path} has {frames}: "
                    "give one for each frame"
                )
        self._path = path
        self._sums_db = dict.fromkeys((MODEL, PROPAGATION, TELEA), 0.0)
        self.frames = 0
        """Frames with a hole that were compared."""
        self.busy_s = 0.0
        """Seconds that filling without a model and comparing took."""

    def compared(self, results: Iterator[R]) -> Iterator[R]:
        """Yield the results, each compared with its true frame.

        Raises:
            UserError: the truth decodes to another number of frames (a damaged file).
        """
        waiting: deque[R] = deque()

        def pairs() -> Iterator[tuple[Frame, Mask]]:
            while True:
                began = time.monotonic()
                one = next(results, None)
                self.busy_s -= time.monotonic() - began
                if one is None:
                    return
                waiting.append(one)
                yield one.source.frame, one.hole.mask

        truths = video.read(self._path)
        began = time.monotonic()
        for fill in propagated(pairs()):
            true, one = next(truths, None), waiting.popleft()
            if true is None:
                raise self._uneven("fewer")
            self._compare(one, true, fill.frame)
            self.busy_s += time.monotonic() - began
            yield one
            began = time.monotonic()
        self.busy_s += time.monotonic() - began
        if next(truths, None) is not None:
            raise self._uneven("more")

    def means_db(self) -> dict[str, float]:
        """Mean PSNR in the hole over the frames with one, in dB: of the model and of each fill.

        Evaluation's cap stands for the infinity of a frame that equals the truth. nan when no frame
        had a hole.
        """
        return {
            name: total / self.frames if self.frames else math.nan
            for name, total in self._sums_db.items()
        }

    def in_words(self) -> str:
        """Return the PSNRs in a line."""
        if not self.frames:
            return f"against {self._path.name}: no frame has a hole, so there is nothing to compare"
        db = self.means_db()
        best = max(db[PROPAGATION], db[TELEA])
        side = "above" if db[MODEL] > best else "not above"
        return (
            f"PSNR in the hole against {self._path.name}: {db[MODEL]:.2f} dB, {side} what needs no "
            f"model: {db[PROPAGATION]:.2f} dB by propagation along optical flow, "
            f"{db[TELEA]:.2f} dB by Telea's method (mean over {self.frames} frames)"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the PSNRs for programs; null stands for nan."""
        means = self.means_db() if self.frames else dict.fromkeys(self._sums_db)
        return {"hole_psnr_db": means, "hole_frames": self.frames}

    def _uneven(self, how: str) -> UserError:
        return UserError(
            f"truth {self._path} decodes to {how} frames than the video: give one for each frame"
        )

    def _compare(self, one: Result, true: Frame, propagation: Frame) -> None:
        hole, frame = one.hole, one.source.frame
        # On a soft edge the result is partly the frame itself: no fill is judged there.
        inside = hole.mask != 0 if hole.weight is None else hole.weight == 1
        if not inside.any():
            return
        fills = {MODEL: one.result, PROPAGATION: propagation, TELEA: _telea(frame, hole.mask)}
        for name, filled in fills.items():
            self._sums_db[name] += min(hole_psnr_db(true, filled, inside), PSNR_CAP_DB)
        self.frames += 1


def _telea(frame: Frame, hole: Mask) -> Frame:
    """The frame with its hole filled as evaluation does it by Telea's method."""
    fill = FILLS[names.SUBJECT_TELEA]
    return np.asarray(fill(frame[np.newaxis], hole[np.newaxis])[0], np.uint8)
