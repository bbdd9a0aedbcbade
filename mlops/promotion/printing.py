"""Decisions as commands print them."""

from collections.abc import Sequence

from data_pipeline.cli.command import Refused, print_json, say
from mlops.promotion.decisions import Entry
from mlops.promotion.promotion import Decided
from mlops.tracking import names

_SHORT = 12  # characters of a digest or a run's id
_STATES = {
    "finished": "",
    "interrupted": ": interrupted, the next decision brings it to its end",
    "given up": ": given up",
}


def print_decision(decided: Decided, model: str) -> None:
    """Print a decision, unless it was a refusal, which `raise_if_refused` raises."""
    if not decided.word:
        say(f"{model} is the champion already")
    if decided.word == names.DECISION_PROMOTED:
        reasons = "".join(f"\n  {reason}" for reason in decided.reasons)
        say(f"{model} is the champion now (decision run {decided.run_id}){reasons}")


def raise_if_refused(decided: Decided, model: str) -> None:
    """Raise `Refused` when that was decided."""
    if decided.word == names.DECISION_REFUSED:
        raise Refused(f"{model} is not promoted: " + "; ".join(decided.reasons))


def as_json(decided: Decided) -> dict[str, object]:
    """A decision for a line of JSON."""
    return {
        "decision": decided.word or "none",
        "run": decided.run_id,
        "reasons": list(decided.reasons),
        "champion": decided.champion,
    }


def print_history(entries: Sequence[Entry], name: str, *, with_json: bool) -> None:
    """Print all decisions about a model, the oldest first."""
    if not entries:
        say(f"nothing was decided about {name} yet")
    for entry in entries:
        say(
            f"{entry.when:%Y-%m-%d %H:%M:%S} {entry.word:11} version {entry.version:>4}, champion "
            f"{entry.before} -> {entry.after}, by {entry.who}, data {entry.data_digest[:_SHORT]}, "
            f"rule {entry.rule_digest[:_SHORT]}, run {entry.run_id[:_SHORT]}{_STATES[entry.state]}"
        )
        for reason in entry.reasons:
            say(f"    {reason}")
    if with_json:
        print_json(
            [
                {
                    "when": entry.when.isoformat(),
                    "decision": entry.word,
                    "version": entry.version,
                    "from": entry.before,
                    "to": entry.after,
                    "who": entry.who,
                    "floors": entry.floors,
                    "run": entry.run_id,
                    "state": entry.state,
                    "reasons": list(entry.reasons),
                }
                for entry in entries
            ]
        )
