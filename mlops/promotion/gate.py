"""The rule that decides which model people use. Pure: numbers in, decision and reasons out.

A candidate is promoted when
1. every number of its evaluation is finite,
2. inside the hole it beats both trivial fills, and the floor if there is one,
3. inside the hole it beats the best classical fill, with the configured confidence, by a paired
   bootstrap over videos; unless the rule has only the trivial fills, which every decision says,
4. it keeps the budgets for time and size, if there are any,
5. against a champion: its hole PSNR is not lower by more than the margin, by the same bootstrap.

Of fewer videos than a bootstrap needs, a stricter rule wants that it is higher (5.: not lower) on
average, and on no video lower by more than the margin.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data_pipeline.cli.canonical import sha256_of_json
from mlops.config import Rule
from mlops.tracking import names

_RULE = (
    "finite; above trivial fills and floor; above the best classical fill on paired videos; "
    "within budgets; non-inferior on paired videos"
)
# Field of `Rule` -> its older name in decision runs, which their digests are made of.
_STORED = {
    "min_videos": "least_videos",
    "max_seconds_per_frame": "most_seconds_per_frame",
    "max_megabytes": "most_megabytes",
}
WEAK_FLOORS = "judged by weak floors only: mean fills; not by the best classical fill"

Pairs = Mapping[str, tuple[float, float]]
"""Video -> hole PSNR in dB of (candidate, other subject) on the same frames and holes; nan where
the video has no hole."""


def stored(rule: Rule) -> dict[str, object]:
    """Thresholds under the names that MLflow has them by, and digests are made of."""
    return {_STORED.get(name, name): value for name, value in asdict(rule).items()}


def digest(rule: Rule) -> str:
    """Identify the rule: two decisions with equal digests used the same one."""
    return sha256_of_json({"rule": _RULE, **stored(rule)})


def rule_from(params: Mapping[str, str]) -> Rule | None:
    """The rule that a decision run has logged as its parameters; None without any."""
    try:
        known: dict[str, Any] = {
            name: type(value)(params[_STORED.get(name, name)])
            for name, value in asdict(Rule()).items()
            if _STORED.get(name, name) in params
        }
        return Rule(**known) if known else None
    except ValueError:  # of a version with other bounds
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Results of an evaluation, for the rule."""

    means: Mapping[str, float]
    """`<subject>/<metric>`: mean over videos."""
    champion: str | None
    """Number of the champion that was scored too, None without one."""
    pairs: Mapping[str, Pairs]
    """Subject -> its pairs with the candidate: of the champion, and of the classical fills."""
    megabytes: float = math.nan
    """Size of the version's files, 1e6 bytes; nan = unknown."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Promote or not, and why; every reason carries its numbers."""

    promote: bool
    reasons: tuple[str, ...]
    """Reasons against it; the reasons for it when there are none. Last, that the rule had only weak
    floors."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Candidate less the other subject, dB: mean over videos, and its bootstrap bounds."""

    mean: float
    low: float
    """Lower bound: the true mean is above it with the configured confidence."""
    high: float
    """Upper bound, likewise."""
    videos: int


@dataclass(frozen=True, slots=True)
class AgainstFloor:
    """The candidate beside the best classical fill."""

    floor: str
    """Subject of that fill."""
    ours: float
    """Hole PSNR of the candidate, mean over videos, dB."""
    theirs: float
    """Hole PSNR of the fill, likewise."""
    holds: bool
    """True when the candidate counts as above it."""
    said: str
    """The reason, with its numbers."""


def decide(evidence: Evidence, rule: Rule) -> Decision:
    """Apply the rule."""
    against: list[str] = []
    in_favour: list[str] = []
    for holds, reason in (
        _finite(evidence),
        *_above_floors(evidence, rule),
        *_above_best_classical(evidence, rule),
        *_within_budgets(evidence, rule),
        *_as_good_as_champion(evidence, rule),
    ):
        (in_favour if holds else against).append(reason)
    weak = (WEAK_FLOORS,) if rule.floors == names.FLOORS_TRIVIAL else ()
    return Decision(not against, (*(against or in_favour), *weak))


def against_best_classical(
    means: Mapping[str, float], pairs: Mapping[str, Pairs], rule: Rule
) -> AgainstFloor | None:
    """Compare the candidate with the classical fill of the highest hole PSNR, mean over videos.

    Args:
        means: as of `Evidence`.
        pairs: likewise.
        rule: what "above" means.

    Returns:
        None when a classical fill was not scored: which one is the best is not known then.
    """
    best = best_classical(means)
    if best is None:
        return None
    floor, level = best
    ours = means.get(f"{names.SUBJECT_CANDIDATE}/{names.HOLE_PSNR}", math.nan)
    said = (
        f"hole PSNR {ours:.3f} dB is {'above' if ours > level else 'not above'} the "
        f"{level:.3f} dB of {floor}, the best classical fill"
    )
    found = gain(pairs.get(floor, {}), rule)
    if found is None:
        holds, said = False, f"{said}; no video was scored for both"
    else:
        said = f"{said}, {found.mean:+.3f} dB mean over {found.videos} videos"
        holds, said = _paired(pairs[floor], found, rule, said, higher=True)
    return AgainstFloor(floor, ours, level, holds, said)


def best_classical(means: Mapping[str, float]) -> tuple[str, float] | None:
    """The classical fill of the highest hole PSNR, mean over videos, and that in dB.

    Returns:
        None when a classical fill was not scored: which one is the best is not known then.
    """
    levels = {one: means.get(f"{one}/{names.HOLE_PSNR}") for one in names.CLASSICAL_SUBJECTS}
    known = {one: level for one, level in levels.items() if level is not None}
    if len(known) < len(levels):
        return None
    floor = max(known, key=lambda one: known[one])
    return floor, known[floor]


def gain(pairs: Pairs, rule: Rule) -> Gain | None:
    """Paired bootstrap over videos, percentile bounds; None when no video was scored for both."""
    found = np.array(list(gains(pairs).values()))
    if not len(found):
        return None
    draws = np.random.Generator(np.random.Philox(rule.bootstrap_seed))
    means = found[draws.integers(0, len(found), (rule.resamples, len(found)))].mean(axis=1)
    low, high = np.quantile(means, (1 - rule.confidence, rule.confidence))
    return Gain(float(found.mean()), float(low), float(high), len(found))


def gains(pairs: Pairs) -> dict[str, float]:
    """Video -> candidate less the other subject, dB, where both are finite."""
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
    for subject, pairs in evidence.pairs.items():
        for video, (ours, theirs) in pairs.items():
            no_hole = math.isnan(ours) and math.isnan(theirs)
            if not no_hole and not (math.isfinite(ours) and math.isfinite(theirs)):
                bad.append(f"hole PSNR of video {video} is {ours}, of {subject} {theirs}")
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


def _above_best_classical(evidence: Evidence, rule: Rule) -> list[tuple[bool, str]]:
    if rule.floors == names.FLOORS_TRIVIAL:
        return []
    found = against_best_classical(evidence.means, evidence.pairs, rule)
    if found is None:
        return [(False, "not every classical fill was scored: evaluate again")]
    return [(found.holds, found.said)]


def _within_budgets(evidence: Evidence, rule: Rule) -> list[tuple[bool, str]]:
    seconds = _mean(evidence, names.SUBJECT_CANDIDATE, names.SECONDS_PER_FRAME)
    budgets = (
        ("time per frame", seconds, rule.max_seconds_per_frame, "s"),
        ("size", evidence.megabytes, rule.max_megabytes, "MB"),
    )
    out = []
    for what, found, limit, unit in budgets:
        if limit:
            holds = found <= limit  # False where it is nan
            word = "within" if holds else "not within"
            said = f"{what} {found:.4g} {unit} is {word} the budget of {limit:.4g} {unit}"
            out.append((holds, said))
    return out


def _as_good_as_champion(evidence: Evidence, rule: Rule) -> list[tuple[bool, str]]:
    if evidence.champion is None:
        return []
    pairs = evidence.pairs.get(names.SUBJECT_CHAMPION, {})
    found = gain(pairs, rule)
    who = f"the champion (version {evidence.champion})"
    if found is None:
        return [(False, f"no video was scored for both candidate and {who}")]
    said = f"hole PSNR is {found.mean:+.3f} dB against {who}, mean over {found.videos} videos"
    return [_paired(pairs, found, rule, said, higher=False)]


def _paired(pairs: Pairs, found: Gain, rule: Rule, said: str, *, higher: bool) -> tuple[bool, str]:
    """Test that the candidate is `higher`, or else not lower by more than the margin."""
    if found.videos < rule.min_videos:
        return _stricter(pairs, rule, said, higher=higher)
    holds = found.low > 0 if higher else found.low >= -rule.margin_db
    bound = "above 0" if higher else f"within the margin of -{rule.margin_db:.3f} dB"
    return holds, (
        f"{said}; with {rule.confidence:.1%} confidence at least {found.low:+.3f} dB, "
        f"{'' if holds else 'not '}{bound}"
    )


def _stricter(pairs: Pairs, rule: Rule, said: str, *, higher: bool) -> tuple[bool, str]:
    """Test with too few videos for a bootstrap."""
    found = gains(pairs)
    worst = min(found, key=lambda video: found[video])
    total = math.fsum(found.values())
    on_average = total > 0 if higher else total >= 0
    wanted = "be higher" if higher else "not be lower"
    return on_average and found[worst] >= -rule.margin_db, (
        f"{said}, fewer than the {rule.min_videos} of a bootstrap: on average it must {wanted}, "
        f"and on no video be lower by more than {rule.margin_db:.3f} dB; the worst is {worst} "
        f"with {found[worst]:+.3f} dB"
    )


def _mean(evidence: Evidence, subject: str, metric: str) -> float:
    return evidence.means.get(f"{subject}/{metric}", math.nan)
