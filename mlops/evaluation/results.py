"""The results of an evaluation as data: a row per subject and clip, per video, means; read back.

A subject is what fills the hole: the candidate, the champion, or a classical fill.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_pipeline.cli.command import UserError
from data_pipeline.format.catalogue import decode_table
from data_pipeline.tracking.store_errors import Deleted, Gone
from mlops.evaluation.columns import TIME, Column
from mlops.evaluation.protocol import Protocol
from mlops.tracking import names, runs

SCHEMA = 2  # of the files


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScore:
    """Scores of one subject on one clip: means over its frames, see `columns`."""

    subject: str
    position: int
    """Place in the list of fixed clips."""
    video: str
    first_frame: int
    frames: int
    hole_frames: int
    """Frames with a hole."""
    variant: int
    """Number of the data set's mask; -1 = given from elsewhere."""
    mask_kind: str
    hole_share: float
    """Hole pixels of all pixels, 0 to 1."""
    inputs_sha256: str
    """Over the frames and holes that were given to the subject."""
    psnr_db: float
    ssim: float
    hole_psnr_db: float
    hole_ssim: float
    warping_error_dis: float
    warping_error_given: float
    seconds_per_frame_s: float


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
    protocol: Protocol
    means: Mapping[str, float]
    """`<subject>/<column>`: mean over videos; with `_over_frames`, over all frames."""
    scores: tuple[ClipScore, ...]

    def hole_pairs(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Subject -> video -> hole PSNR in dB of (candidate, subject), for all but the candidate.

        A subject that was not scored is not there.
        """
        levels = {
            subject: {video: values[names.HOLE_PSNR] for video, values in videos.items()}
            for subject, videos in by_video(self.scores, self.protocol).items()
        }
        ours = levels.pop(names.SUBJECT_CANDIDATE, {})
        return {
            subject: {video: (ours[video], theirs[video]) for video in ours if video in theirs}
            for subject, theirs in levels.items()
        }

    @property
    def held_out(self) -> bool:
        """True when no video of it was trained on."""
        return self.protocol.split != names.TRAINING_SPLIT

    def unscored_floors(self) -> tuple[str, ...]:
        """The classical fills that it lacks: it is older than they are."""
        scored = {score.subject for score in self.scores}
        return tuple(one for one in names.CLASSICAL_SUBJECTS if one not in scored)


def best_floor(scores: Iterable[ClipScore]) -> ClipScore | None:
    """Find the score of the best classical fill among those of one clip, None without any."""
    order = names.CLASSICAL_SUBJECTS
    floors = [one for one in scores if one.subject in order and not math.isnan(one.hole_psnr_db)]
    # Of equals the first, in whatever order they came.
    floors.sort(key=lambda one: (-one.hole_psnr_db, order.index(one.subject)))
    return floors[0] if floors else None


def by_video(
    scores: Sequence[ClipScore], protocol: Protocol
) -> dict[str, dict[str, dict[str, float]]]:
    """Subject -> video -> column -> mean over the frames (or pairs) of all its clips."""
    clips: dict[str, dict[str, list[ClipScore]]] = {}
    for score in scores:
        clips.setdefault(score.subject, {}).setdefault(score.video, []).append(score)
    return {
        subject: {video: _means_of(those, protocol) for video, those in videos.items()}
        for subject, videos in clips.items()
    }


def means(scores: Sequence[ClipScore], protocol: Protocol) -> dict[str, float]:
    """`<subject>/<column>`: mean over videos; `<subject>/<column>_over_frames`: over all frames."""
    out: dict[str, float] = {}
    for subject, videos in by_video(scores, protocol).items():
        everything = [score for score in scores if score.subject == subject]
        for column, over_frames in _means_of(everything, protocol).items():
            out[f"{subject}/{column}"] = mean([values[column] for values in videos.values()])
            out[f"{subject}/{column}{names.OVER_FRAMES}"] = over_frames
    return out


def _means_of(scores: Sequence[ClipScore], protocol: Protocol) -> dict[str, float]:
    columns = [one for one in protocol.measured() if one.over != "clips at once"]
    return {
        column.key: _weighted(
            [(getattr(score, column.key), _weight(score, column)) for score in scores]
        )
        for column in (*columns, TIME)
    }


def _weight(score: ClipScore, column: Column) -> int:
    if column.over == "frames with a hole":
        return score.hole_frames
    return score.frames - 1 if column.over == "pairs of frames" else score.frames


def _weighted(values: Sequence[tuple[float, int]]) -> float:
    """Mean of (value, weight); what has no weight has no value."""
    there = [(value, weight) for value, weight in values if weight]
    total = sum(weight for _, weight in there)
    return math.fsum(value * weight for value, weight in there) / total if total else math.nan


def mean(values: Sequence[float]) -> float:
    """Mean of the values that are not nan; nan when there is none."""
    there = [value for value in values if not math.isnan(value)]
    return math.fsum(there) / len(there) if there else math.nan


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """The values as JSON can hold them: None for nan and inf."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def write(
    folder: Path,
    scores: Sequence[ClipScore],
    protocol: Protocol,
    all_means: Mapping[str, float],
    facts: Mapping[str, Any],
) -> None:
    """Write the tables per clip and per video (parquet) and results.json (facts and means)."""
    rows = [asdict(score) for score in scores]
    pq.write_table(pa.Table.from_pylist(rows), folder / names.RESULTS_PARQUET)
    videos = [
        {"subject": subject, "video": video, **values}
        for subject, those in by_video(scores, protocol).items()
        for video, values in those.items()
    ]
    pq.write_table(pa.Table.from_pylist(videos), folder / names.VIDEOS_PARQUET)
    summary = {"schema": SCHEMA, **facts, "protocol": asdict(protocol), "means": finite(all_means)}
    text = json.dumps(summary, indent=2, sort_keys=True, allow_nan=False)
    (folder / names.RESULTS_JSON).write_text(text + "\n")


def read(tracking_uri: str, run_id: str) -> Evaluation:
    """Read a finished evaluation run back.

    Raises:
        Deleted, Gone: the run is, or its files: it says nothing about a version any more.
        UserError: it was written by a version of another schema.
    """
    try:
        run = runs.get(tracking_uri, run_id)
        facts = json.loads(runs.artifact(tracking_uri, run_id, names.RESULTS_JSON))
        table = runs.artifact(tracking_uri, run_id, names.RESULTS_PARQUET)
    except (Deleted, Gone) as error:
        raise type(error)(f"the evaluation cannot be read: {error}, or evaluate again") from error
    tags = run.data.tags
    if facts.get("schema") != SCHEMA:
        raise UserError(
            f"evaluation run {run_id} has results of schema {facts.get('schema')}, this version "
            f"reads {SCHEMA}: evaluate again"
        )
    against = tags[names.AGAINST_VERSION]
    return Evaluation(
        run_id=run_id,
        version=tags[names.MODEL_VERSION],
        against=None if against == names.NO_VERSION else against,
        data_uri=tags[names.DATA_URI],
        data_digest=tags[names.DATA_DIGEST],
        protocol=Protocol(**facts["protocol"]),
        means=dict(run.data.metrics),
        scores=tuple(ClipScore(**row) for row in decode_table(table).to_pylist()),
    )
