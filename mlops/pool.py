"""Scores versions with Ray Data: a pool of actors for each, one row per clip."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import ray.data
from ray.data import ActorPoolStrategy

from data_pipeline.door import Refused, UserError
from data_pipeline.progress import progress
from mlops import names
from mlops.registry import Version
from mlops.results import ClipScore, Protocol
from mlops.scoring import FAILURE, MISTAKE, ScoringActor


@dataclass(frozen=True, slots=True)
class Job:
    """One evaluation: what is scored on what."""

    tracking_uri: str
    version: Version
    champion: Version | None
    data_uri: str
    protocol: Protocol
    clips: int
    """How many clips the protocol has on this data set."""
    workers: int
    """Processes for each version."""
    strips: int
    """Clips to draw a strip of."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What came out: scores in the order of subject and clip, strips by artifact name."""

    scores: tuple[ClipScore, ...]
    strips: dict[str, bytes]


def score(job: Job) -> Scored:
    """Score candidate, trivial fills and champion; needs an open Ray session.

    Raises:
        UserError: a clip cannot be read.
        Refused: a version cannot be loaded, or does not answer as it should.
    """
    subjects = [(names.SUBJECT_CANDIDATE, job.version, True)]
    if job.champion is not None:
        subjects.append((names.SUBJECT_CHAMPION, job.champion, False))
    rows: list[dict[str, Any]] = []
    for subject, version, trivial in subjects:
        with progress(f"score {version.uri}", job.clips, "clips") as bar:
            seen: set[int] = set()
            for row in _rows(job, subject, version, trivial=trivial):
                rows.append(row)
                seen.add(row["position"])
                bar.at(len(seen))
    rows.sort(key=lambda row: (row["subject"], row["position"]))
    columns = [field.name for field in fields(ClipScore)]
    return Scored(
        tuple(ClipScore(**{name: row[name] for name in columns}) for row in rows),
        {_strip_name(row): row["strip"] for row in rows if row["strip"]},
    )


def _rows(job: Job, subject: str, version: Version, *, trivial: bool) -> Iterator[dict[str, Any]]:
    positions = [{"position": position} for position in range(job.clips)]
    strips = np.linspace(0, job.clips - 1, min(job.strips, job.clips)).astype(int)
    with warnings.catch_warnings():
        # Ray 2.60 warns about this argument and has no other way to say it. Without it, Ray prints
        # an error about each actor that it could not restart.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        scored = ray.data.from_items(positions, override_num_blocks=job.clips).flat_map(
            ScoringActor,
            fn_constructor_kwargs={
                "tracking_uri": job.tracking_uri,
                "version": version,
                "subject": subject,
                "data_uri": job.data_uri,
                "protocol": job.protocol,
                "trivial": trivial,
                "strips": frozenset(strips.tolist()),
            },
            compute=ActorPoolStrategy(size=min(job.workers, job.clips)),
            num_cpus=1,
            max_restarts=0,
        )
    for row in scored.iter_rows():
        if MISTAKE in row:
            raise UserError(row[MISTAKE])
        if FAILURE in row:
            raise Refused(f"{version.uri} could not be scored: {row[FAILURE]}")
        yield row


def _strip_name(row: dict[str, Any]) -> str:
    return f"{names.STRIP}/{row['subject']}-{row['position']:03d}.png"
