"""Who is champion, and every change of it: one at a time, each with a decision run of its own.

A decision is written before an alias moves and finished after, so one that was interrupted is found
by the next and brought to its end.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from mlflow.entities import Run

from data_pipeline.door import Refused, UserError
from mlops import claims, gate, names, registry, results, runs
from mlops.gate import Rule
from mlops.registry import Version
from mlops.results import Evaluation

_LONGEST_TAG = 5000  # characters; MLflow's limit for the value of a tag is 8000
_MOST_DECISIONS = 1000  # shown


class Outdated(UserError):  # noqa: N818 (it is in the state, not in error)
    """The version was not evaluated against the champion of now."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of it."""

    word: str
    """One of `names.DECISION_…`, or "" when the version is the champion already."""
    run_id: str
    reasons: tuple[str, ...]
    champion: str | None
    """Number of the champion after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the history."""

    when: datetime
    who: str
    word: str
    version: str
    """The number it was decided about."""
    before: str
    """Number of the champion before, `names.NO_VERSION` without one."""
    after: str
    """Likewise after."""
    data_digest: str
    rule_digest: str
    run_id: str
    reasons: tuple[str, ...]


def decide(tracking_uri: str, version: Version, rule: Rule, leases: str) -> Decided:
    """Apply the rule to the evaluation of a version; move the aliases, or refuse.

    Args:
        tracking_uri: of the registry.
        version: evaluated before, against the champion of now.
        rule: what the gate is strict about.
        leases: folder, `claims.folder_of`.

    Raises:
        Outdated: it was not evaluated, or against another champion.
        Held: somebody else does not come to an end with deciding.
    """
    uri = tracking_uri
    with claims.deciding(leases, version.name) as held:
        _settle(uri, version.name)
        champion = registry.alias_or_none(uri, version.name, names.CHAMPION)
        if champion is not None and champion.version == version.version:
            return Decided("", "", (), champion.version)
        version = registry.resolve(uri, version.uri)  # its tags as they are now
        evaluation = _evaluation(uri, version, champion)
        decision = gate.decide(_evidence(uri, version, evaluation), rule)
        word = names.DECISION_PROMOTED if decision.promote else names.DECISION_REFUSED
        before = champion.version if champion else names.NO_VERSION
        after = version.version if decision.promote else before
        run_id = _recorded(
            uri,
            version,
            {
                names.DECISION: word,
                names.DECISION_FROM: before,
                names.DECISION_TO: after,
                names.EVALUATION_RUN: evaluation.run_id,
                names.RULE_DIGEST: rule.digest(),
                names.DATA_DIGEST: evaluation.data_digest,
            },
            decision.reasons,
            once=not decision.promote,
        )
        runs.log_params(uri, run_id, asdict(rule))
        runs.log_scalars(uri, run_id, 0, evaluation.means)
        held.check()
        if decision.promote:
            _move(uri, version, champion)
        runs.finish(uri, run_id)
        now = None if after == names.NO_VERSION else after
        return Decided(word, run_id, decision.reasons, now)


def roll_back(tracking_uri: str, model: str, leases: str, why: str) -> Decided:
    """Make `previous` the champion again; `previous` becomes who was champion before that one.

    Raises:
        Refused: there is no `previous`.
        Held: somebody else does not come to an end with deciding.
    """
    uri = tracking_uri
    with claims.deciding(leases, model) as held:
        _settle(uri, model)
        champion = registry.alias_or_none(uri, model, names.CHAMPION)
        previous = registry.alias_or_none(uri, model, names.PREVIOUS)
        if previous is None:
            raise Refused(
                f"{model} has no version @{names.PREVIOUS}: there is nothing to return to"
            )
        reasons = (why or "no reason was given",)
        run_id = _recorded(
            uri,
            previous,
            {
                names.DECISION: names.DECISION_ROLLED_BACK,
                names.DECISION_FROM: champion.version if champion else names.NO_VERSION,
                names.DECISION_TO: previous.version,
            },
            reasons,
        )
        held.check()
        _return_to(uri, previous)
        runs.finish(uri, run_id)
        return Decided(names.DECISION_ROLLED_BACK, run_id, reasons, previous.version)


def history(tracking_uri: str, model: str) -> tuple[Entry, ...]:
    """All decisions about a model, the oldest first."""
    wanted = {names.KIND: names.KIND_DECISION, names.MODEL_NAME: model}
    decided = runs.find_all(tracking_uri, wanted, finished=True, most=_MOST_DECISIONS)
    return tuple(_entry(run) for run in reversed(decided))


def _entry(run: Run) -> Entry:
    tags: Mapping[str, str] = run.data.tags
    return Entry(
        when=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        who=tags.get("mlflow.user", "unknown"),
        word=tags[names.DECISION],
        version=tags[names.MODEL_VERSION],
        before=tags[names.DECISION_FROM],
        after=tags[names.DECISION_TO],
        data_digest=tags.get(names.DATA_DIGEST, ""),
        rule_digest=tags.get(names.RULE_DIGEST, ""),
        run_id=run.info.run_id,
        reasons=tuple(tags[names.REASONS].splitlines()),
    )


def _evaluation(uri: str, version: Version, champion: Version | None) -> Evaluation:
    """The evaluation of a version against the champion of now."""
    again = f"run `python mlops/evaluate.py --model {version.uri}` first"
    run_id = version.tags.get(names.EVALUATION_RUN)
    if run_id is None:
        raise Outdated(f"{version.uri} was not evaluated yet: {again}")
    evaluation = results.read(uri, run_id)
    now = champion.version if champion else None
    if evaluation.against != now:
        raise Outdated(
            f"{version.uri} was evaluated against {_who(evaluation.against)}, "
            f"but the champion is {_who(now)}: {again}"
        )
    return evaluation


def _evidence(uri: str, version: Version, evaluation: Evaluation) -> gate.Evidence:
    return gate.Evidence(
        means=evaluation.means,
        champion=evaluation.against,
        pairs=evaluation.hole_pairs(),
        megabytes=registry.megabytes(uri, version),
    )


def _recorded(
    uri: str,
    version: Version,
    facts: Mapping[str, str],
    reasons: tuple[str, ...],
    *,
    once: bool = False,
) -> str:
    """Begin a decision run; `once`: take the one that says all the same already."""
    identity = {
        names.KIND: names.KIND_DECISION,
        names.MODEL_NAME: version.name,
        names.MODEL_VERSION: version.version,
        **facts,
    }
    known = runs.find(uri, identity, finished=True) if once else None
    if known is not None:
        return known
    return runs.ensure(
        uri,
        run_name=f"{facts[names.DECISION]}-{version.name}-{version.version}".replace(" ", "-"),
        kind=names.KIND_DECISION,
        tags={**identity, names.REASONS: "\n".join(reasons)[:_LONGEST_TAG]},
    )


def _settle(uri: str, model: str) -> None:
    """Bring decisions to their end whose process did not."""
    wanted = {names.KIND: names.KIND_DECISION, names.MODEL_NAME: model}
    for run in runs.find_all(uri, wanted, finished=False, most=_MOST_DECISIONS):
        if run.info.status == "KILLED":
            continue
        entry = _entry(run)
        champion = registry.alias_or_none(uri, model, names.CHAMPION)
        now = champion.version if champion else names.NO_VERSION
        if now not in (entry.before, entry.after):
            runs.finish(uri, entry.run_id, "KILLED")  # overtaken by somebody's own hand
            continue
        if entry.before != entry.after:
            after = registry.resolve(uri, f"models:/{model}/{entry.after}")
            if entry.word == names.DECISION_ROLLED_BACK:
                _return_to(uri, after)
            elif now == entry.before:
                _move(uri, after, champion)
        runs.finish(uri, entry.run_id)


def _move(uri: str, version: Version, champion: Version | None) -> None:
    """Point `previous` at the champion of now, and `champion` at the version."""
    if champion is not None:
        registry.set_alias(uri, champion, names.PREVIOUS)
    registry.set_alias(uri, version, names.CHAMPION)


def _return_to(uri: str, version: Version) -> None:
    """Point `champion` at a version, and `previous` at the champion before it, if any."""
    registry.set_alias(uri, version, names.CHAMPION)
    before = [
        entry.before
        for entry in history(uri, version.name)
        if entry.word == names.DECISION_PROMOTED and entry.after == version.version
    ]
    if before and before[-1] != names.NO_VERSION:
        earlier = registry.resolve(uri, f"models:/{version.name}/{before[-1]}")
        registry.set_alias(uri, earlier, names.PREVIOUS)
    else:
        registry.remove_alias(uri, version, names.PREVIOUS)


def _who(number: str | None) -> str:
    return f"version {number}" if number else "no champion"
