"""The rule that decides which model people use. Pure: numbers in, decision and reasons out.

A candidate is promoted when
1. every number of its evaluation is finite,
2. inside the hole it beats both trivial fills (mean PSNR over the clips),
3. against a champion: its hole PSNR, mean over the clips both were scored on, is not lower by more
   than the margin.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from data_pipeline.canonical import sha256_of_json
from mlops import names

_RULE = "finite, above both trivial fills, non-inferior to the champion on paired clips"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What the gate is strict about."""

    margin_db: float
    """How far below the champion's mean hole PSNR still counts as as good, dB."""

    def digest(self) -> str:
        """Names the rule: two decisions with equal digests used the same one."""
        return sha256_of_json({"rule": _RULE, **asdict(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an evaluation says."""

    means: Mapping[str, float]
    """`<subject>/<metric>`: mean over clips."""
    champion: str | None
    """Number of the champion that was scored too, None without one."""
    hole_pairs: tuple[tuple[float, float], ...] = ()
    """Hole PSNR of (candidate, champion) on each clip both were scored on, dB."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Promote or not, and why; every reason carries its numbers."""

    promote: bool
    reasons: tuple[str, ...]
    """What spoke against it; all that spoke for it when nothing did."""


def decide(evidence: Evidence, rule: Rule) -> Decision:
    """Apply the rule."""
    against: list[str] = []
    in_favour: list[str] = []
    for holds, reason in (
        _finite(evidence),
        *_above_trivial(evidence),
        *_as_good_as_champion(evidence, rule),
    ):
        (in_favour if holds else against).append(reason)
    return Decision(not against, tuple(against or in_favour))


def _finite(evidence: Evidence) -> tuple[bool, str]:
    bad = [f"{key} is {value}" for key, value in evidence.means.items() if not math.isfinite(value)]
    expected = f"{names.SUBJECT_CANDIDATE}/{names.HOLE_PSNR}"
    if expected not in evidence.means:
        bad.append(f"{expected} was not measured")
    if bad:
        return False, "not every number is finite: " + ", ".join(sorted(bad))
    return True, f"all {len(evidence.means)} numbers are finite"


def _above_trivial(evidence: Evidence) -> list[tuple[bool, str]]:
    found = _hole_psnr(evidence, names.SUBJECT_CANDIDATE)
    out = []
    for subject in names.TRIVIAL_SUBJECTS:
        floor = _hole_psnr(evidence, subject)
        holds = found > floor  # False where one is nan
        word = "above" if holds else "not above"
        out.append((holds, f"hole PSNR {found:.3f} dB is {word} the {floor:.3f} dB of {subject}"))
    return out


def _as_good_as_champion(evidence: Evidence, rule: Rule) -> list[tuple[bool, str]]:
    if evidence.champion is None:
        return []
    pairs = [pair for pair in evidence.hole_pairs if all(map(math.isfinite, pair))]
    who = f"champion (version {evidence.champion})"
    if not pairs:
        return [(False, f"0 clips were scored for both candidate and {who}")]
    gain = math.fsum(ours - theirs for ours, theirs in pairs) / len(pairs)
    holds = gain >= -rule.margin_db
    relation = "within" if holds else "worse than"
    return [
        (
            holds,
            f"hole PSNR is {gain:+.3f} dB against the {who} over {len(pairs)} clips, "
            f"{relation} the margin of -{rule.margin_db:.3f} dB",
        )
    ]


def _hole_psnr(evidence: Evidence, subject: str) -> float:
    return evidence.means.get(f"{subject}/{names.HOLE_PSNR}", math.nan)
