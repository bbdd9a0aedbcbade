"""What one actor of an evaluation does: scores subjects on a fixed clip.

In a module of its own, because Ray ships what is defined in a door (`__main__`) by value.

Legend: `T` frames, `H`, `W` pixels; frames uint8 RGB [T,H,W,3]; masks uint8 [T,H,W], 1 = hole.
"""

import io
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_pipeline.clips import Clip, evaluation_clips
from data_pipeline.door import Refused, UserError
from data_pipeline.reader import DataSet, read_clip
from mlops import metrics, names
from mlops.model import load
from mlops.registry import Version
from mlops.results import PSNR_CAP_DB, ClipScore, Protocol, mean

# Columns of a row that says what went wrong: the user's mistake, or a failure.
MISTAKE = "mistake"
FAILURE = "failure"

STRIP_COLUMNS = 4  # frames shown of a clip
_MASKED = 128  # grey shown in the hole of the strip's second row
_TINT = np.array([230, 60, 50])  # shown over the hole in the strip's first row

Frames = NDArray[np.uint8]
Fill = Callable[[Frames, Frames], Frames]


def fixed_clips(data_set: DataSet, protocol: Protocol) -> tuple[Clip, ...]:
    """The clips of a protocol on a data set, always the same."""
    videos = data_set.videos(protocol.split)
    return evaluation_clips(
        tuple(video.frames for video in videos),
        tuple(len(video.mask_kinds) for video in videos),
        protocol.clips_per_video,
        protocol.frames_per_clip,
    )


@final
class ScoringActor:
    """A `Scorer` that answers what went wrong as a row, in one line.

    Ray would wrap the exception, print it several times, and try again what cannot work.
    """

    def __init__(self, **scorer: Any) -> None:
        """Take the arguments of `Scorer`."""
        self._scorer: Scorer | None = None
        self._wrong: dict[str, Any] = {}
        try:
            self._scorer = Scorer(**scorer)
        except Exception as error:
            self._wrong = _said(error)

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Score one clip; a row with `MISTAKE` or `FAILURE` when it could not."""
        if self._scorer is None:
            return [self._wrong]
        try:
            return self._scorer(row)
        except Exception as error:
            return [_said(error)]


@final
class Scorer:
    """Holds one loaded version and its own handle on the data set; called once per clip."""

    def __init__(
        self,
        *,
        tracking_uri: str,
        version: Version,
        subject: str,
        data_uri: str,
        protocol: Protocol,
        trivial: bool,
        strips: frozenset[int],
    ) -> None:
        """Load the version.

        Args:
            tracking_uri: where the version is registered.
            version: what to load; the only one in this process.
            subject: the name its scores get.
            data_uri: data set.
            protocol: which clips.
            trivial: score the trivial fills on the same clips too.
            strips: positions of the clips to draw a strip of.
        """
        self._model = load(tracking_uri, version)
        self._data_set = DataSet.open(data_uri)
        self._videos = self._data_set.videos(protocol.split)
        self._clips = fixed_clips(self._data_set, protocol)
        self._strips = strips
        self._subjects: dict[str, Fill] = {subject: self._model.inpaint}
        if trivial:
            self._subjects[names.SUBJECT_FRAME_MEAN] = _each(metrics.fill_with_frame_mean)
            self._subjects[names.SUBJECT_RING_MEAN] = _each(metrics.fill_with_ring_mean)

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Score one clip: {"position"} in, a row per subject (`ClipScore` and "strip") out."""
        clip = self._clips[int(row["position"])]
        frames, masks = read_clip(self._data_set, self._videos[clip.video], clip)
        return [
            self._score(subject, fill, clip, frames, masks)
            for subject, fill in self._subjects.items()
        ]

    def _score(
        self, subject: str, fill: Fill, clip: Clip, frames: Frames, masks: Frames
    ) -> dict[str, Any]:
        began = time.perf_counter()
        filled = fill(frames, masks)
        seconds = time.perf_counter() - began
        video = self._videos[clip.video]
        score = ClipScore(
            subject=subject,
            position=clip.position,
            video=video.id,
            first_frame=clip.frames[0],
            frames=len(clip.frames),
            variant=clip.variant,
            mask_kind=video.mask_kinds[clip.variant],
            hole_share=float((masks != 0).mean()),
            seconds_per_frame_s=seconds / len(frames),
            **frame_means(frames, filled, masks),
        )
        drawn = clip.position in self._strips
        return {**asdict(score), "strip": strip(frames, masks, filled) if drawn else b""}


def frame_means(truth: Frames, filled: Frames, masks: Frames) -> dict[str, float]:
    """Mean of each of `names.METRICS` over frames; hole metrics over the frames with a hole."""
    rows = zip(truth, filled, masks, strict=True)
    per_frame = [
        {
            names.PSNR: _capped(metrics.psnr_db(t, f)),
            names.SSIM: metrics.ssim(t, f),
            names.HOLE_PSNR: _capped(metrics.hole_psnr_db(t, f, m)),
            names.HOLE_SSIM: metrics.hole_ssim(t, f, m),
        }
        for t, f, m in rows
    ]
    return {name: mean([frame[name] for frame in per_frame]) for name in names.METRICS}


def strip(frames: Frames, masks: Frames, filled: Frames) -> bytes:
    """PNG with rows input (hole tinted), hole (grey), result, truth; columns are frames."""
    chosen = np.linspace(0, len(frames) - 1, min(STRIP_COLUMNS, len(frames))).astype(int)
    truth, result = frames[chosen], filled[chosen]
    hole = masks[chosen][..., np.newaxis] != 0
    tinted = np.where(hole, (truth // 3 + _TINT * 2 // 3).astype(np.uint8), truth)
    grey = np.where(hole, np.uint8(_MASKED), truth)
    rows = [np.concatenate(list(row), axis=1) for row in (tinted, grey, result, truth)]
    png = io.BytesIO()
    Image.fromarray(np.concatenate(rows, axis=0)).save(png, "PNG")
    return png.getvalue()


def _said(error: Exception) -> dict[str, Any]:
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
