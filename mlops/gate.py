"""The rule that decides which model people use. Pure: numbers in, decision and reasons out.

A candidate is promoted when
1. every number of its evaluation is finite,
2. inside the hole it beats both trivial fills, and the floor if there is one,
3. it keeps the budgets for time and size, if there are any,
4. against a champion: its hole PSNR is not lower by more than the margin, with the confidence
   asked for, by a paired bootstrap over videos. Of fewer videos than that needs, a stricter rule
   asks that it is not lower on average, and on no video by more than the margin.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from data_pipeline.canonical import sha256_of_json
from mlops import names

_RULE = "finite; above trivial fills and floor; within budgets; non-inferior on paired videos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the gate is strict about."""

    margin_db: float = 0.1
    """How far below the champion's hole PSNR still counts as as good, dB."""
    confidence: float = 0.95
    """With which the candidate must be within the margin, 0.5 to 1."""
    least_videos: int = 10
    """Scored for both, below which the stricter rule holds: not lower on average, and on no video
    by more than the margin."""
    resamples: int = 10_000
    """Of the bootstrap."""
    bootstrap_seed: int = 0
    """Of its draws."""
    floor_db: float = 0.0
    """Hole PSNR below which nothing is promoted, dB; 0 = no floor but the trivial fills."""
    most_seconds_per_frame: float = 0.0
    """Budget for the model's time, s; 0 = none."""
    most_megabytes: float = 0.0
    """Budget for the size of the version's files, 1e6 bytes; 0 = none."""

    def __post_init__(self) -> None:
        for name in ("margin_db", "floor_db", "most_seconds_per_frame", "most_megabytes"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"--{name.replace('_', '-')} is {value}: give 0 or more")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"--confidence is {self.confidence}: give 0.5 to less than 1")
        if self.least_videos < 2 or self.resamples < 1000:
            raise ValueError(
                f"--least-videos is {self.least_videos} and --resamples {self.resamples}: a "
                "bootstrap wants at least 2 and 1000"
            )

    def digest(self) -> str:
        """Names the rule: two decisions with equal digests used the same one."""
        return sha256_of_json({"rule": _RULE, **asdict(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an evaluation says."""

    means: Mapping[str, float]
    """`<subject>/<metric>`: mean over videos."""
    champion: str | None
    """Number of the champion that was scored too, None without one."""
    pairs: Mapping[str, tuple[float, float]]
    """Video -> hole PSNR of (candidate, champion) on the same frames and holes, dB; nan where the
    video has no hole."""
    megabytes: float = math.nan
    """Size of the version's files, 1e6 bytes; nan = unknown."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Promote or not, and why; every reason carries its numbers."""

    promote: bool
    reasons: tuple[str, ...]
    """What spoke against it; all that spoke for it when nothing did."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Candidate less champion, dB: mean over videos, and its bootstrap bounds."""

    mean: float
    low: float
    """The true mean is above it with the confidence asked for."""
    high: float
    """Likewise below it."""
    videos: int


def decide(evidence: Evidence, rule: Rule) -> Decision:
    """Apply the rule."""
    against: list[str] = []
    in_favour: list[str] = []
    for holds, reason in (
        _finite(evidence),
        *_above_floors(evidence, rule),
        *_within_budgets(evidence, rule),
        *_as_good_as_champion(evidence, rule),
    ):
        (in_favour if holds else against).append(reason)
    return Decision(not against, tuple(against or in_favour))


def gain(pairs: Mapping[str, tuple[float, float]], rule: Rule) -> Gain | None:
    """Paired bootstrap over videos, percentile bounds; None when no video was scored for both."""
    found = np.array(list(gains(pairs).values()))
    if not len(found):
        return None
    draws = np.random.Generator(np.random.Philox(rule.bootstrap_seed))
    means = found[draws.integers(0, len(found), (rule.resamples, len(found)))].mean(axis=1)
    low, high = np.quantile(means, (1 - rule.confidence, rule.confidence))
    return Gain(float(found.mean()), float(low), float(high), len(found))


def gains(pairs: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Video -> candidate less champion, dB, where both are finite."""
    return {
        video: ours - theirs
        for video, (ours, theirs) in pairs.items()
        if math.isfinite(ours) and math.isfinite(theirs)
    }


def _finite(evidence: Evidence) -> tuple[bool, str]:
    bad = [f"{key} is {value}" for key, value in evidence.means.items() if not math.isfinite(value)]
    expected = f"{names.SUBJECT_CANDIDATE}/{names.HOLE_PSNR}"
    if expected not in evidence.means:
        bad.append(f"{expected} was not measured")
    for video, (ours, theirs) in evidence.pairs.items():
        no_hole = math.isnan(ours) and math.isnan(theirs)
        if not no_hole and not (math.isfinite(ours) and math.isfinite(theirs)):
            bad.append(f"hole PSNR of video {video} is {ours}, the champion's {theirs}")
    if bad:
        return False, "not every number is finite: " + ", ".join(sorted(bad))
    return True, f"all {len(evidence.means)} numbers are finite"


def _above_floors(evidence: Evidence, rule: Rule) -> list[tuple[bool, str]]:
    found = _mean(evidence, names.SUBJECT_CANDIDATE, names.HOLE_PSNR)
    floors = {one: _mean(evidence, one, names.HOLE_PSNR) for one in names.TRIVIAL_SUBJECTS}
    if rule.floor_db:
        floors["the floor"] = rule.floor_db
    out = []
    for subject, floor in floors.items():
        holds = found > floor  # False where one is nan
        word = "above" if holds else "not above"
        out.append((holds, f"hole PSNR {found:.3f} dB is {word} the {floor:.3f} dB of {subject}"))
    return out


def _within_budgets(evidence: Evidence, rule: Rule) -> list[tuple[bool, str]]:
    seconds = _mean(evidence, names.SUBJECT_CANDIDATE, names.SECONDS_PER_FRAME)
    budgets = (
        ("time per frame", seconds, rule.most_seconds_per_frame, "s"),
        ("size", evidence.megabytes, rule.most_megabytes, "MB"),
    )
    out = []
    for what, found, most, unit in budgets:
        if most:
            holds = found <= most  # False where it is nan
            word = "within" if holds else "not within"
            said = f"{what} {found:.4g} {unit} is {word} the budget of {most:.4g} {unit}"
            out.append((holds, said))
    return out


def _as_good_as_champion(evidence: Evidence, rule: Rule) -> list[tuple[bool, str]]:
    if evidence.champion is None:
        return []
    found = gain(evidence.pairs, rule)
    who = f"the champion (version {evidence.champion})"
    if found is None:
        return [(False, f"no video was scored for both candidate and {who}")]
    said = f"hole PSNR is {found.mean:+.3f} dB against {who}, mean over {found.videos} videos"
    if found.videos < rule.least_videos:
        return _stricter(evidence, rule, said)
    holds = found.low >= -rule.margin_db
    return [
        (
            holds,
            f"{said}; with {rule.confidence:.1%} confidence at least {found.low:+.3f} dB, "
            f"{'within' if holds else 'not within'} the margin of -{rule.margin_db:.3f} dB",
        )
    ]


def _stricter(evidence: Evidence, rule: Rule, said: str) -> list[tuple[bool, str]]:
    """What is asked of too few videos for a bootstrap."""
    found = gains(evidence.pairs)
    worst = min(found, key=lambda video: found[video])
    holds = math.fsum(found.values()) >= 0 and found[worst] >= -rule.margin_db
    return [
        (
            holds,
            f"{said}, fewer than the {rule.least_videos} of a bootstrap: on average it must not be "
            f"lower, and on no video by more than {rule.margin_db:.3f} dB; the worst is {worst} "
            f"with {found[worst]:+.3f} dB",
        )
    ]


def _mean(evidence: Evidence, subject: str, metric: str) -> float:
    return evidence.means.get(f"{subject}/{metric}", math.nan)
