"""The results of an evaluation as data: a row per subject and clip, means, and the run read back.

A subject is what fills the hole: the candidate, the champion, or a trivial fill.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.canonical import sha256_of_json
from data_pipeline.catalogue import decode_table
from mlops import metrics, names
from mlops.tracking import client

_SCHEMA = 1  # of results.json and results.parquet
PSNR_CAP_DB = 100.0  # stands for inf, which would make every mean it enters inf


@dataclass(frozen=True, slots=True)
class Protocol:
    """Which clips are scored; with the data set's digest it fixes every pixel that is compared."""

    split: str
    clips_per_video: int
    frames_per_clip: int

    def digest(self) -> str:
        """Sha256 over the clips asked for and the definition of the metrics."""
        return sha256_of_json(
            {
                **asdict(self),
                "schema": _SCHEMA,
                "frame_window": metrics.FRAME_WINDOW,
                "hole_window": metrics.HOLE_WINDOW,
                "ring_pixels": metrics.RING_PIXELS,
                "psnr_cap_db": PSNR_CAP_DB,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScore:
    """Scores of one subject on one clip: means over its frames, for the hole over those with one.

    PSNR is capped at 100 dB per frame, which stands for equal frames.
    """

    subject: str
    position: int
    """Place in the list of fixed clips."""
    video: str
    first_frame: int
    frames: int
    variant: int
    mask_kind: str
    hole_share: float
    """Hole pixels of all pixels, 0 to 1."""
    psnr_db: float
    ssim: float
    hole_psnr_db: float
    hole_ssim: float
    seconds_per_frame_s: float
    """Wall time of the model alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One finished evaluation run."""

    run_id: str
    version: str
    """Number of the version that was scored."""
    against: str | None
    """Number of the champion that was scored with it."""
    data_uri: str
    data_digest: str
    means: Mapping[str, float]
    """`<subject>/<metric>`: mean over clips."""
    scores: tuple[ClipScore, ...]

    def hole_pairs(self) -> tuple[tuple[float, float], ...]:
        """Hole PSNR in dB of (candidate, champion) on each clip both were scored on."""
        by_subject: dict[str, dict[int, float]] = {}
        for score in self.scores:
            by_subject.setdefault(score.subject, {})[score.position] = score.hole_psnr_db
        candidate = by_subject.get(names.SUBJECT_CANDIDATE, {})
        champion = by_subject.get(names.SUBJECT_CHAMPION, {})
        return tuple((candidate[at], champion[at]) for at in sorted(candidate.keys() & champion))


def means(scores: Sequence[ClipScore]) -> dict[str, float]:
    """`<subject>/<metric>`: mean over the clips; clips without any hole have no hole metrics."""
    out: dict[str, float] = {}
    for subject in dict.fromkeys(score.subject for score in scores):
        rows = [asdict(score) for score in scores if score.subject == subject]
        for metric in (*names.METRICS, names.SECONDS_PER_FRAME):
            out[f"{subject}/{metric}"] = mean([row[metric] for row in rows])
    return out


def mean(values: Sequence[float]) -> float:
    """Mean of the values that are not nan; nan when there is none."""
    there = [value for value in values if not math.isnan(value)]
    return math.fsum(there) / len(there) if there else math.nan


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """The values as JSON can hold them: None for nan and inf."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def write(folder: Path, scores: Sequence[ClipScore], facts: Mapping[str, Any]) -> None:
    """Write results.parquet (a row per subject and clip) and results.json (facts and means)."""
    rows = [asdict(score) for score in scores]
    pq.write_table(pa.Table.from_pylist(rows), folder / names.RESULTS_PARQUET)
    summary = {"schema": _SCHEMA, **facts, "means": finite(means(scores))}
    text = json.dumps(summary, indent=2, sort_keys=True, allow_nan=False)
    (folder / names.RESULTS_JSON).write_text(text + "\n")


def read(tracking_uri: str, run_id: str) -> Evaluation:
    """Read a finished evaluation run back."""
    known = client(tracking_uri)
    run = known.get_run(run_id)
    tags = run.data.tags
    table = decode_table(Path(known.download_artifacts(run_id, names.RESULTS_PARQUET)).read_bytes())
    against = tags[names.AGAINST_VERSION]
    return Evaluation(
        run_id=run_id,
        version=tags[names.MODEL_VERSION],
        against=None if against == names.NO_VERSION else against,
        data_uri=tags[names.DATA_URI],
        data_digest=tags[names.DATA_DIGEST],
        means=dict(run.data.metrics),
        scores=tuple(ClipScore(**row) for row in table.to_pylist()),
    )
