"""Work of one actor of an evaluation: scores subjects on the clips of a video.

In a module of its own, because Ray ships what is defined in a command (`__main__`) by value.

Legend: `T` frames, `H`, `W` pixels; frames uint8 RGB [T,H,W,3]; masks uint8 [T,H,W], 1 = hole.
"""

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, final

import cv2
import numpy as np
from numpy.typing import NDArray

from data_pipeline.cli import errors
from data_pipeline.read.reader import DataSet
from data_pipeline.storage import lake
from data_pipeline.tracking.store_errors import translated
from mlops.evaluation import flow, i3d, inputs, metrics
from mlops.evaluation.floor_fills import FILLS, ClipFill
from mlops.evaluation.inputs import Inputs
from mlops.evaluation.protocol import PSNR_CAP_DB, Protocol
from mlops.evaluation.results import ClipScore, best_floor, mean
from mlops.media import pictures
from mlops.tracking import names
from mlops.tracking.loaded_model import load
from mlops.tracking.registry import Version

# Keys of rows that are no scores: an error (`errors.encode`), a drawing, features of a clip.
ERROR = "error"
DRAWN = "drawn"
FEATURES = "features"

TRUTH = "truth"  # subject of the features of what was really there

Frames = NDArray[np.uint8]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Data, protocol and workers of an evaluation, whatever the version."""

    tracking_uri: str
    """Where versions are registered."""
    data_uri: str
    protocol: Protocol
    workers: int
    """Processes for each version."""
    i3d: str = ""
    """URI of the weights of I3D; "" = no features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Arguments of an actor."""

    plan: Plan
    version: Version
    """Version to load; the only one in the process."""
    subject: str
    """The name its scores get."""
    floors: bool
    """Score the classical fills on the same clips too."""
    drawn: int
    """Clips to draw of the best, and as many of the worst, beside the best classical fill."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A clip as a subject filled it."""

    frames: Frames
    seconds: float
    """Wall time it took."""


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
            self._wrong = {ERROR: errors.encode(error)}

    def __call__(self, row: Row) -> list[Row]:
        """Score one video; a row with `ERROR` when it could not."""
        if self._scorer is None:
            return [self._wrong]
        try:
            return list(self._scorer(int(row["video"])))
        except Exception as error:
            return [{ERROR: errors.encode(error)}]


@final
class Scorer:
    """Holds one loaded version and its own handle on the data set.

    Called by two threads at once, one of which has the model: it never waits for reading and
    measuring as long as there is a video to go on with.
    """

    def __init__(self, task: Task) -> None:
        plan = task.plan
        self._task, self._protocol = task, plan.protocol
        with translated(plan.tracking_uri):
            self._model = load(plan.tracking_uri, task.version)
        self._data_set = DataSet.open(plan.data_uri)
        self._clips = inputs.fixed_clips(self._data_set, plan.protocol)
        self._floors = FILLS if task.floors else {}
        self._i3d: i3d.Weights | None = None
        if plan.i3d:
            with lake.local_copy(plan.i3d) as path:
                self._i3d, _ = i3d.load(path, plan.protocol.i3d_sha256)
        cv2.setNumThreads(1)  # of this process's one CPU
        self._at_the_model = threading.Lock()
        self._extremes = Extremes(task.drawn)

    def __call__(self, video: int) -> Iterator[Row]:
        """Score the clips of one video; a row per subject (`ClipScore`), and drawings."""
        for clip in self._clips:
            if clip.video != video:
                continue
            given = inputs.read(self._data_set, clip, self._protocol)
            filled = self._filled(given)
            warping = self._warping_errors(given, filled)
            scores = [
                _score(subject, given, one, warping[subject]) for subject, one in filled.items()
            ]
            yield from map(asdict, scores)
            yield from self._drawing(scores, given, filled)
            yield from self._features(given, filled)

    def _filled(self, given: Inputs) -> dict[str, Answer]:
        """Fill the clip by each subject; the model first."""
        with self._at_the_model:
            ours = _timed(self._by_model, given)
        theirs = {subject: _timed(fill, given) for subject, fill in self._floors.items()}
        return {self._task.subject: ours, **theirs}

    def _by_model(self, frames: Frames, masks: Frames) -> Frames:
        official = self._protocol.official_windows
        return self._model.inpaint(frames, masks, official_windows=official)

    def _warping_errors(
        self, given: Inputs, filled: dict[str, Answer]
    ) -> dict[str, dict[str, float]]:
        """Subject -> column -> mean over the pairs of frames; nan where no flow was given."""
        sources = {names.WARPING_DIS: flow.dis()}
        if self._protocol.flows:
            sources[names.WARPING_GIVEN] = flow.given(self._protocol.flows, given.video.id)
        columns = (names.WARPING_DIS, names.WARPING_GIVEN)
        errors: dict[str, dict[str, list[float]]] = {
            subject: {column: [] for column in columns} for subject in filled
        }
        for column, source in sources.items():
            for at, number in enumerate(given.clip.frames[:-1]):
                step = flow.step(*source(number, given.frames[at], given.frames[at + 1]))
                for subject, one in filled.items():
                    pair = (one.frames[here].astype(np.float32) / 255 for here in (at, at + 1))
                    errors[subject][column].append(step.error(*pair))
        return {
            subject: {column: mean(values) for column, values in found.items()}
            for subject, found in errors.items()
        }

    def _drawing(
        self, scores: list[ClipScore], given: Inputs, filled: dict[str, Answer]
    ) -> Iterator[Row]:
        """The model's answer beside that of the clip's best classical fill."""
        ours, *theirs = scores
        if not self._extremes.show(ours.hole_psnr_db):
            return
        floor = best_floor(theirs)
        what = (
            given.frames,
            given.masks,
            filled[floor.subject].frames if floor else None,
            filled[ours.subject].frames,
        )
        yield {
            DRAWN: True,
            "subject": ours.subject,
            "position": ours.position,
            "hole_psnr_db": ours.hole_psnr_db,
            "strip": pictures.strip(*what),
            "clip": pictures.clip(*what),
        }

    def _features(self, given: Inputs, filled: dict[str, Answer]) -> Iterator[Row]:
        """Yield the features for VFID; those of the truth once, beside the candidate."""
        if self._i3d is None:
            return
        shown = {subject: one.frames for subject, one in filled.items()}
        if self._task.floors:
            shown[TRUTH] = given.frames
        for subject, frames in shown.items():
            vector = i3d.feature(self._i3d, frames).tolist()
            yield {FEATURES: vector, "subject": subject, "position": given.clip.position}


@final
class Extremes:
    """Keeps the `count` best and the `count` worst of the scores so far.

    What is extreme among all was so among those of any part, so parts can be looked at apart.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._lowest: list[float] = []
        self._highest: list[float] = []

    def show(self, value: float) -> bool:
        """Add a score; return True when it belongs to them now. nan never does."""
        if math.isnan(value) or not self._count:
            return False
        with self._lock:
            self._lowest = sorted([*self._lowest, value])[: self._count]
            self._highest = sorted([*self._highest, value])[-self._count :]
            return self.holds(value)

    def holds(self, value: float) -> bool:
        """Return True when it belongs to them."""
        return value in self._lowest or value in self._highest


def _timed(fill: ClipFill, given: Inputs) -> Answer:
    hidden = given.hidden()
    began = time.perf_counter()
    frames = fill(hidden, given.masks)
    return Answer(frames, time.perf_counter() - began)


def _score(subject: str, given: Inputs, filled: Answer, warping: dict[str, float]) -> ClipScore:
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
        seconds_per_frame_s=filled.seconds / len(clip.frames),
        **warping,
        **frame_means(given.frames, filled.frames, given.masks),
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


def _capped(value: float) -> float:
    # nan is above nothing, so it stays nan.
    return PSNR_CAP_DB if value > PSNR_CAP_DB else value
