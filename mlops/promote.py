"""Door: apply the rule to the evaluation of a version; move the alias `champion`, or refuse.

`python mlops/promote.py --tracking-uri URI`                       decide about the candidate
`python mlops/promote.py --rollback --why "worse on my videos"`    return to `previous`
`python mlops/promote.py --history`                                all decisions

Every decision is a run of its own with its reasons, written before an alias moves. Exit 0:
promoted, rolled back, or champion already; 1: refused, with the reasons; 2: not evaluated yet.
"""

import sys
from collections.abc import Sequence

from data_pipeline.door import Refused, parse, print_json, say
from mlops import claims, names, promotion, registry, tracking
from mlops.config import PromoteConfig
from mlops.door import run_door
from mlops.promotion import Decided, Entry

_SHORT = 12  # characters of a digest or a run's id


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(PromoteConfig, argv, prog="promote", description=str(__doc__))
    uri = tracking.absolute_uri(config.tracking_uri)
    name, _, _ = registry.parse_uri(config.model)
    if config.history:
        _print_history(promotion.history(uri, name), name, as_json=config.json)
        return 0
    leases = claims.folder_of(uri, config.leases)
    if config.rollback:
        registry.resolve(uri, f"models:/{name}@{names.CHAMPION}")
        decided = promotion.roll_back(uri, name, leases, config.why)
        say(f"models:/{name}/{decided.champion} is the champion again ({decided.run_id})")
    else:
        version = registry.resolve(uri, config.model)
        decided = promotion.decide(uri, version, config.rule, leases)
        tell(decided, version.uri)
    if config.json:
        print_json(as_json(decided))
    refuse(decided, config.model)
    return 0


def tell(decided: Decided, model: str) -> None:
    """Say on the terminal what was decided, unless it was a refusal, which `refuse` raises."""
    if not decided.word:
        say(f"{model} is the champion already")
    if decided.word == names.DECISION_PROMOTED:
        reasons = "".join(f"\n  {reason}" for reason in decided.reasons)
        say(f"{model} is the champion now (decision run {decided.run_id}){reasons}")


def refuse(decided: Decided, model: str) -> None:
    """Raises `Refused` when that was decided."""
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


def _print_history(entries: Sequence[Entry], name: str, *, as_json: bool) -> None:
    if not entries:
        say(f"nothing was decided about {name} yet")
    for entry in entries:
        say(
            f"{entry.when:%Y-%m-%d %H:%M:%S} {entry.word:11} version {entry.version:>4}, champion "
            f"{entry.before} -> {entry.after}, by {entry.who}, data {entry.data_digest[:_SHORT]}, "
            f"rule {entry.rule_digest[:_SHORT]}, run {entry.run_id[:_SHORT]}"
        )
        for reason in entry.reasons:
            say(f"    {reason}")
    if as_json:
        print_json(
            [
                {
                    "when": entry.when.isoformat(),
                    "decision": entry.word,
                    "version": entry.version,
                    "from": entry.before,
                    "to": entry.after,
                    "who": entry.who,
                    "run": entry.run_id,
                    "reasons": list(entry.reasons),
                }
                for entry in entries
            ]
        )


if __name__ == "__main__":
    sys.exit(main())
