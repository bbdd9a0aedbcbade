"""Scores versions with Ray Data: a pool of actors for each, one row per video."""

import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import ray
import ray.data
from ray.data import ActorPoolStrategy

from data_pipeline.cli import errors
from data_pipeline.cli.command import Refused
from data_pipeline.cli.progress import progress
from data_pipeline.read.reader import DataSet
from mlops.evaluation import inputs, metrics
from mlops.evaluation.results import ClipScore
from mlops.evaluation.scoring import (
    DRAWN,
    ERROR,
    FEATURES,
    TRUTH,
    Extremes,
    Plan,
    Row,
    ScoringActor,
    Task,
)
from mlops.tracking import names
from mlops.tracking.registry import Version

_THREADS = 2  # of an actor: one has the model while the other reads and measures


@dataclass(frozen=True, slots=True)
class Scored:
    """Results of the pool."""

    scores: tuple[ClipScore, ...]
    """In the order of subject and clip."""
    of_all_clips: dict[str, float]
    """`<subject>/<column>` of the columns that are one number for all clips."""
    drawings: dict[str, bytes]
    """Name of an artifact -> PNG or MP4."""
    busy: float
    """Share of the time that the models of both versions were at work, 0 to 1."""


def score(plan: Plan, version: Version, champion: Version | None, drawn: int) -> Scored:
    """Score candidate, classical fills and champion; needs an open Ray session.

    Args:
        plan: on what.
        version: the candidate.
        champion: scored after it; None where there is none.
        drawn: clips to draw of the best, and as many of the worst.

    Raises:
        Refused: a version cannot be loaded, or does not answer as it should.
        UserError, TransientError, ...: errors of the data set, its store or MLflow.
    """
    candidate = names.SUBJECT_CANDIDATE
    task = Task(plan=plan, version=version, subject=candidate, floors=True, drawn=drawn)
    tasks = [task]
    if champion is not None:
        who = names.SUBJECT_CHAMPION
        tasks.append(replace(task, version=champion, subject=who, floors=False, drawn=0))
    rows: list[Row] = []
    elapsed = 0.0
    for one in tasks:
        began = time.monotonic()
        rows += _rows(one)
        elapsed += time.monotonic() - began
    scored = [row for row in rows if not row.get(DRAWN) and row.get(FEATURES) is None]
    scored.sort(key=lambda row: (row["subject"], row["position"]))
    columns = [field.name for field in fields(ClipScore)]
    scores = tuple(ClipScore(**{name: row[name] for name in columns}) for row in scored)
    busy = _at_work(scores) / (elapsed * plan.workers)
    return Scored(scores, _distances(rows), _drawings(rows, drawn), busy)


def _rows(task: Task) -> list[Row]:
    """All rows of one version, under a progress bar."""
    plan = task.plan
    clips = inputs.fixed_clips(DataSet.open(plan.data_uri), plan.protocol)
    frames: dict[int, int] = {}
    for clip in clips:
        frames[clip.video] = frames.get(clip.video, 0) + len(clip.frames)
    # The longest first, so that no worker is left alone with a long one at the end.
    videos = sorted(frames, key=lambda video: (-frames[video], video))
    rows, seen = [], set()
    with progress(f"score {task.version.uri}", len(clips), "clips") as bar:
        for row in _scored(task, videos, min(plan.workers, len(videos))):
            rows.append(row)
            seen.add(row["position"])
            bar.at(len(seen))
    return rows


def _scored(task: Task, videos: list[int], workers: int) -> Iterator[Row]:
    items = [{"video": video} for video in videos]
    gpu = bool(ray.cluster_resources().get("GPU"))  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        # Ray 2.60 warns about this argument and has no other way to say it. Without it, Ray prints
        # an error about each actor that it could not restart.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        scored = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(
            ScoringActor,
            fn_constructor_args=(task,),
            compute=ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=_THREADS),
            num_cpus=1,
            num_gpus=1 if gpu else 0,
            max_restarts=0,
            max_concurrency=_THREADS,
        )
    for row in scored.iter_rows():
        # Ray fills up what rows of one block lack with None.
        if row.get(ERROR):
            raise _in_words(errors.decode(row[ERROR]), task.version)
        yield row


def _in_words(error: Exception, version: Version) -> Exception:
    """Turn errors of a version's own code, which may be anybody's, into `Refused`."""
    if isinstance(error, errors.Unexpected):
        sys.stderr.write("\n".join(error.__notes__) + "\n")
    elif type(error) is not Refused:
        return error
    return Refused(f"{version.uri} could not be scored: {error}")


def _at_work(scores: tuple[ClipScore, ...]) -> float:
    """Seconds that models worked, the classical fills apart."""
    return sum(
        one.seconds_per_frame_s * one.frames
        for one in scores
        if one.subject not in names.CLASSICAL_SUBJECTS
    )


def _distances(rows: list[Row]) -> dict[str, float]:
    """`<subject>/vfid` where there are features of at least two clips."""
    vectors: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row.get(FEATURES) is not None:
            vectors.setdefault(row["subject"], {})[row["position"]] = row[FEATURES]
    sets = {
        subject: np.array([those[at] for at in sorted(those)]) for subject, those in vectors.items()
    }
    truth = sets.pop(TRUTH, np.empty(0))
    if len(truth) < 2:
        return {}
    return {
        f"{subject}/{names.VFID}": metrics.frechet_distance(found, truth)
        for subject, found in sets.items()
    }


def _drawings(rows: list[dict[str, Any]], count: int) -> dict[str, bytes]:
    """Drawings of the best and worst of all actors' best and worst."""
    drawn = sorted((row for row in rows if row.get(DRAWN)), key=lambda row: row["position"])
    extremes = Extremes(count)
    for row in drawn:
        extremes.show(row["hole_psnr_db"])
    out = {}
    for row in drawn:
        if extremes.holds(row["hole_psnr_db"]):
            name = f"{row['subject']}-{row['position']:03d}"
            out[f"{names.DRAWINGS}/{name}.png"] = row["strip"]
            out[f"{names.DRAWINGS}/{name}.mp4"] = row["clip"]
    return out
