"""What one actor of an evaluation does: scores subjects on the clips of a video.

In a module of its own, because Ray ships what is defined in a door (`__main__`) by value.

Legend: `T` frames, `H`, `W` pixels; frames uint8 RGB [T,H,W,3]; masks uint8 [T,H,W], 1 = hole.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline import lake
from data_pipeline.door import Refused, UserError
from data_pipeline.reader import DataSet
from mlops import flow, i3d, inputs, metrics, names, pictures
from mlops.inputs import Inputs
from mlops.model import load
from mlops.protocol import PSNR_CAP_DB, Protocol
from mlops.registry import Version
from mlops.results import ClipScore, mean

# Keys of rows that are no scores: the user's mistake, a failure, a drawing, features of a clip.
MISTAKE = "mistake"
FAILURE = "failure"
DRAWN = "drawn"
FEATURES = "features"

TRUTH = "truth"  # subject of the features of what was really there

Frames = NDArray[np.uint8]
Fill = Callable[[Frames, Frames], Frames]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What an actor is told."""

    tracking_uri: str
    """Where the version is registered."""
    version: Version
    """What to load; the only one in the process."""
    subject: str
    """The name its scores get."""
    data_uri: str
    protocol: Protocol
    trivial: bool
    """Score the trivial fills on the same clips too."""
    drawn: int
    """Clips to draw of the best, and as many of the worst."""
    i3d: str
    """URI of the weights; "" = no features."""


@final
class ScoringActor:
    """A `Scorer` that answers what went wrong as a row, in one line.

    Ray would wrap the exception, print it several times, and try again what cannot work.
    """

    def __init__(self, task: Task) -> None:
        self._scorer: Scorer | None = None
        self._wrong: Row = {}
        try:
            self._scorer = Scorer(task)
        except Exception as error:
            self._wrong = _said(error)

    def __call__(self, row: Row) -> list[Row]:
        """Score one video; a row with `MISTAKE` or `FAILURE` when it could not."""
        if self._scorer is None:
            return [self._wrong]
        try:
            return list(self._scorer(int(row["video"])))
        except Exception as error:
            return [_said(error)]


@final
class Scorer:
    """Holds one loaded version and its own handle on the data set.

    Called by two threads at once, one of which has the model: it never waits for reading and
    measuring as long as there is a video to go on with.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        model = load(task.tracking_uri, task.version)
        self._data_set = DataSet.open(task.data_uri)
        self._clips = inputs.fixed_clips(self._data_set, task.protocol)
        self._fills: dict[str, Fill] = {
            task.subject: lambda frames, masks: model.inpaint(
                frames, masks, official_windows=task.protocol.official_windows
            )
        }
        if task.trivial:
            self._fills[names.SUBJECT_FRAME_MEAN] = _each(metrics.fill_with_frame_mean)
            self._fills[names.SUBJECT_RING_MEAN] = _each(metrics.fill_with_ring_mean)
        self._i3d: i3d.Weights | None = None
        if task.i3d:
            with lake.local_copy(task.i3d) as path:
                self._i3d, _ = i3d.load(path, task.protocol.i3d_sha256)
        cv2.setNumThreads(1)  # of this process's one CPU
        self._model = threading.Lock()
        self._extremes = Extremes(task.drawn)

    def __call__(self, video: int) -> Iterator[Row]:
        """Score the clips of one video; a row per subject (`ClipScore`), and drawings."""
        for clip in self._clips:
            if clip.video != video:
                continue
            given = inputs.read(self._data_set, clip, self._task.protocol)
            filled = {subject: self._filled(fill, given) for subject, fill in self._fills.items()}
            results = {subject: frames for subject, (frames, _) in filled.items()}
            warping = self._warping_errors(given, results)
            for subject, (frames, seconds) in filled.items():
                score = _score(subject, given, frames, seconds, warping[subject])
                yield asdict(score)
                if subject == self._task.subject:
                    yield from self._drawing(score, given, frames)
            if self._i3d is not None:
                truth = {TRUTH: given.frames} if self._task.trivial else {}
                for subject, frames in {**truth, **results}.items():
                    vector = i3d.feature(self._i3d, frames).tolist()
                    yield {FEATURES: vector, "subject": subject, "position": clip.position}

    def _filled(self, fill: Fill, given: Inputs) -> tuple[Frames, float]:
        with self._model:
            began = time.perf_counter()
            filled = fill(given.frames, given.masks)
            return filled, time.perf_counter() - began

    def _warping_errors(
        self, given: Inputs, results: dict[str, Frames]
    ) -> dict[str, dict[str, float]]:
        """Subject -> column -> mean over the pairs of frames; nan where no flow was given."""
        sources = {names.WARPING_DIS: flow.dis()}
        if self._task.protocol.flows:
            sources[names.WARPING_GIVEN] = flow.given(self._task.protocol.flows, given.video.id)
        known = {subject: frames.astype(np.float32) / 255 for subject, frames in results.items()}
        columns = (names.WARPING_DIS, names.WARPING_GIVEN)
        errors: dict[str, dict[str, list[float]]] = {
            subject: {column: [] for column in columns} for subject in results
        }
        for column, source in sources.items():
            for at, number in enumerate(given.clip.frames[:-1]):
                step = flow.step(*source(number, given.frames[at], given.frames[at + 1]))
                for subject, frames in known.items():
                    errors[subject][column].append(step.error(frames[at], frames[at + 1]))
        return {
            subject: {column: mean(values) for column, values in found.items()}
            for subject, found in errors.items()
        }

    def _drawing(self, score: ClipScore, given: Inputs, filled: Frames) -> Iterator[Row]:
        if self._extremes.show(score.hole_psnr_db):
            what = given.frames, given.masks, filled
            yield {
                DRAWN: True,
                "subject": score.subject,
                "position": score.position,
                "hole_psnr_db": score.hole_psnr_db,
                "strip": pictures.strip(*what),
                "clip": pictures.clip(*what),
            }


@final
class Extremes:
    """Tells what is among the `most` best or the `most` worst of what it was shown so far.

    What is extreme among all was so among those of any part, so parts can be looked at apart.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._lowest: list[float] = []
        self._highest: list[float] = []

    def show(self, value: float) -> bool:
        """Look at one more; whether it belongs to them now. What is no number never does."""
        if math.isnan(value) or not self._most:
            return False
        with self._lock:
            self._lowest = sorted([*self._lowest, value])[: self._most]
            self._highest = sorted([*self._highest, value])[-self._most :]
            return self.holds(value)

    def holds(self, value: float) -> bool:
        """Whether it belongs to them."""
        return value in self._lowest or value in self._highest


def _score(
    subject: str, given: Inputs, filled: Frames, seconds: float, warping: dict[str, float]
) -> ClipScore:
    clip = given.clip
    return ClipScore(
        subject=subject,
        position=clip.position,
        video=given.video.id,
        first_frame=clip.frames[0],
        frames=len(clip.frames),
        hole_frames=int(given.masks.any(axis=(1, 2)).sum()),
        variant=given.variant,
        mask_kind=given.mask_kind,
        hole_share=float((given.masks != 0).mean()),
        inputs_sha256=given.sha256(),
        seconds_per_frame_s=seconds / len(clip.frames),
        **warping,
        **frame_means(given.frames, filled, given.masks),
    )


def frame_means(truth: Frames, filled: Frames, masks: Frames) -> dict[str, float]:
    """Means over frames, those of the hole over the frames with one."""
    per_frame = [
        {
            names.PSNR: _capped(metrics.psnr_db(t, f)),
            names.SSIM: metrics.ssim(t, f),
            names.HOLE_PSNR: _capped(metrics.hole_psnr_db(t, f, m)),
            names.HOLE_SSIM: metrics.hole_ssim(t, f, m),
        }
        for t, f, m in zip(truth, filled, masks, strict=True)
    ]
    return {name: mean([frame[name] for frame in per_frame]) for name in per_frame[0]}


def _said(error: Exception) -> Row:
    """An exception as a row: our own in its words, any other with its kind."""
    if isinstance(error, UserError):
        return {MISTAKE: str(error)}
    if isinstance(error, Refused):
        return {FAILURE: str(error)}
    return {FAILURE: f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}


def _capped(value: float) -> float:
    # nan is above nothing, so it stays nan.
    return PSNR_CAP_DB if value > PSNR_CAP_DB else value


def _each(fill: Fill) -> Fill:
    """Apply a fill of one frame to every frame of a clip."""

    def fill_clip(frames: Frames, masks: Frames) -> Frames:
        return np.stack([fill(frame, mask) for frame, mask in zip(frames, masks, strict=True)])

    return fill_clip
