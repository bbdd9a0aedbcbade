"""Door: apply the rule to the evaluation of a version; move the alias `champion`, or refuse.

`python mlops/promote.py --tracking-uri URI`

Every decision is a run of its own with its reasons, written before an alias moves. Exit 0:
promoted, or champion already; 1: refused, with the reasons; 2: not evaluated yet.
"""

import sys
from collections.abc import Sequence

from data_pipeline.door import Refused, UserError, parse, print_json, run_door, say
from mlops import gate, names, registry, results, tracking
from mlops.config import PromoteConfig
from mlops.registry import Version
from mlops.results import Evaluation

_LONGEST_TAG = 5000  # characters; MLflow's limit for the value of a tag is 8000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(PromoteConfig, argv, prog="promote", description=str(__doc__))
    uri = tracking.absolute_uri(config.tracking_uri)
    version = registry.resolve(uri, config.model)
    champion = registry.alias_or_none(uri, version.name, names.CHAMPION)
    if champion is not None and champion.version == version.version:
        say(f"{version.uri} is the champion already")
        if config.json:
            print_json({"decision": "none", "champion": version.version, "reasons": []})
        return 0
    evaluation = _evaluation(uri, version, champion)
    rule = gate.Rule(margin_db=config.margin_db)
    evidence = gate.Evidence(
        means=evaluation.means,
        champion=evaluation.against,
        hole_pairs=evaluation.hole_pairs(),
    )
    decision = gate.decide(evidence, rule)
    run_id = _record(uri, version, champion, evaluation, rule, decision)
    if decision.promote:
        _move_aliases(uri, version, champion)
        tracking.finish(uri, run_id)
    if decision.promote:
        reasons = "".join(f"\n  {reason}" for reason in decision.reasons)
        say(f"{version.uri} is the champion now (decision run {run_id}){reasons}")
    if config.json:
        word = names.DECISION_PROMOTED if decision.promote else names.DECISION_REFUSED
        current = version if decision.promote else champion
        print_json(
            {
                "decision": word,
                "run": run_id,
                "reasons": list(decision.reasons),
                "champion": current.version if current else None,
            }
        )
    if not decision.promote:
        raise Refused(f"{version.uri} is not promoted: " + "; ".join(decision.reasons))
    return 0


def _evaluation(uri: str, version: Version, champion: Version | None) -> Evaluation:
    """The evaluation of a version against the champion of now.

    Raises:
        UserError: it was not evaluated, or against another champion.
    """
    again = f"run `python mlops/evaluate.py --model {version.uri}` first"
    run_id = version.tags.get(names.EVALUATION_RUN)
    if version.tags.get(names.EVALUATION) != names.EVALUATION_DONE or run_id is None:
        raise UserError(f"{version.uri} was not evaluated yet: {again}")
    evaluation = results.read(uri, run_id)
    now = champion.version if champion else None
    if evaluation.against != now:
        raise UserError(
            f"{version.uri} was evaluated against {_who(evaluation.against)}, "
            f"but the champion is {_who(now)}: {again}"
        )
    return evaluation


def _record(
    uri: str,
    version: Version,
    champion: Version | None,
    evaluation: Evaluation,
    rule: gate.Rule,
    decision: gate.Decision,
) -> str:
    """Write the decision run; one refusal of one evaluation by one rule is written once."""
    before = champion.version if champion else names.NO_VERSION
    word = names.DECISION_PROMOTED if decision.promote else names.DECISION_REFUSED
    identity = {
        names.KIND: names.KIND_DECISION,
        names.DECISION: word,
        names.MODEL_NAME: version.name,
        names.MODEL_VERSION: version.version,
        names.EVALUATION_RUN: evaluation.run_id,
        names.RULE_DIGEST: rule.digest(),
        names.DECISION_FROM: before,
        names.DECISION_TO: version.version if decision.promote else before,
    }
    if not decision.promote:
        known = tracking.find_run(uri, identity, finished=True)
        if known is not None:
            return known
    run_id = tracking.ensure_run(
        uri,
        run_name=f"{word}-{version.name}-{version.version}",
        kind=names.KIND_DECISION,
        tags={
            **identity,
            names.DATA_DIGEST: evaluation.data_digest,
            names.REASONS: "\n".join(decision.reasons)[:_LONGEST_TAG],
        },
    )
    tracking.log_params(uri, run_id, {"margin_db": rule.margin_db})
    tracking.log_scalars(uri, run_id, 0, evaluation.means)
    if not decision.promote:
        tracking.finish(uri, run_id)
    return run_id


def _move_aliases(uri: str, version: Version, champion: Version | None) -> None:
    """Point `previous` at the champion of now and `champion` at the version.

    Raises:
        Refused: somebody else moved `champion` since the decision.
    """
    now = registry.alias_or_none(uri, version.name, names.CHAMPION)
    found, expected = (_who(one.version if one else None) for one in (now, champion))
    if found != expected:
        raise Refused(
            f"{version.uri} is not promoted: the champion became {found} in the meantime; "
            "evaluate again"
        )
    if champion is not None:
        registry.set_alias(uri, champion, names.PREVIOUS)
    registry.set_alias(uri, version, names.CHAMPION)


def _who(number: str | None) -> str:
    return f"version {number}" if number else "no champion"


if __name__ == "__main__":
    sys.exit(main())
