"""Serialised decisions about the champion, each with an MLflow run of its own.

A decision is written before an alias moves and finished after. One that was interrupted is found by
the next, which brings it to its end, or closes it where its version is gone. What `previous` points
at follows from the history, and from the versions that the registry still has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow.exceptions import MlflowException

from data_pipeline.cli.command import Refused, UserError, say
from data_pipeline.storage.lease import Lease
from mlops.config import Rule
from mlops.evaluation import results
from mlops.evaluation.results import Evaluation
from mlops.promotion import gate
from mlops.promotion.decisions import MAX_DECISIONS, Entry, earlier_champions, entry_of, history
from mlops.tracking import locks, names, registry, runs
from mlops.tracking.registry import Version

_LONGEST_TAG = 5000  # characters; MLflow's limit for the value of a tag is 8000


class Outdated(UserError):  # noqa: N818 (it is in the state, not in error)
    """The version was not evaluated against the champion of now, or without the classical fills."""


@dataclass(frozen=True, slots=True)
class Decided:
    """Outcome of a decision."""

    word: str
    """One of `names.DECISION_…`, or "" when the version is the champion already."""
    run_id: str
    reasons: tuple[str, ...]
    champion: str | None
    """Number of the champion after it."""


def decide(tracking_uri: str, version: Version, rule: Rule, leases: str) -> Decided:
    """Apply the rule to the evaluation of a version; move the aliases, or refuse.

    Args:
        tracking_uri: of the registry.
        version: evaluated before, against the champion of now.
        rule: thresholds.
        leases: folder, `locks.folder_of`.

    Raises:
        Outdated: it was not evaluated, or against another champion, or without classical fills.
        Held: another process holds the lease for too long.
    """
    uri = tracking_uri
    with locks.deciding(leases, version.name) as held:
        _settle(uri, version.name)
        champion = registry.alias_or_none(uri, version.name, names.CHAMPION)
        if champion is not None and champion.version == version.version:
            return Decided("", "", (), champion.version)
        version = registry.resolve(uri, version.uri)  # its tags as they are now
        evaluation = _evaluation(uri, version, champion, rule)
        decision = gate.decide(_evidence(uri, version, evaluation), rule)
        word = names.DECISION_PROMOTED if decision.promote else names.DECISION_REFUSED
        before = _number(champion)
        after = version.version if decision.promote else before
        run_id = _recorded(
            uri,
            version,
            {
                names.DECISION: word,
                names.DECISION_FROM: before,
                names.DECISION_TO: after,
                names.EVALUATION_RUN: evaluation.run_id,
                names.RULE_DIGEST: gate.digest(rule),
                names.FLOORS: rule.floors,
                names.DATA_DIGEST: evaluation.data_digest,
            },
            decision.reasons,
            once=not decision.promote,
        )
        runs.log_params(uri, run_id, gate.stored(rule))
        runs.log_scalars(uri, run_id, 0, evaluation.means)
        _carry_out(uri, version.name, run_id, held)
        now = None if after == names.NO_VERSION else after
        return Decided(word, run_id, decision.reasons, now)


def roll_back(tracking_uri: str, model: str, leases: str, why: str) -> Decided:
    """Make `previous` the champion again; `previous` becomes who was champion before that one.

    Raises:
        Refused: there is no `previous`.
        Held: another process holds the lease for too long.
    """
    uri = tracking_uri
    with locks.deciding(leases, model) as held:
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
                names.DECISION_FROM: _number(champion),
                names.DECISION_TO: previous.version,
            },
            reasons,
        )
        _carry_out(uri, model, run_id, held)
        return Decided(names.DECISION_ROLLED_BACK, run_id, reasons, previous.version)


def _evaluation(uri: str, version: Version, champion: Version | None, rule: Rule) -> Evaluation:
    """The evaluation of a version against the champion of now, with the fills the rule wants."""
    if registry.half_deleted(version):
        raise UserError(f"{version.uri} is half deleted: run `python mlops/prune.py` again")
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
    if not evaluation.held_out:
        raise Outdated(
            f"{version.uri} was evaluated on split {evaluation.protocol.split!r}, which it was "
            f"trained on: {again}, on held-out videos"
        )
    lacking = evaluation.unscored_floors()
    if lacking and rule.floors == names.FLOORS_CLASSICAL:
        raise Outdated(
            f"{version.uri} was evaluated without {', '.join(lacking)}, which the rule compares "
            f"with: evaluate again, {again}"
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
    before = history(uri, version.name, unfinished=True)
    identity[names.DECISION_NUMBER] = str(1 + max((one.number for one in before), default=0))
    return runs.ensure(
        uri,
        run_name=f"{facts[names.DECISION]}-{version.name}-{version.version}".replace(" ", "-"),
        kind=names.KIND_DECISION,
        tags={**identity, names.REASONS: "\n".join(reasons)[:_LONGEST_TAG]},
    )


def _settle(uri: str, model: str) -> None:
    """Bring decisions to their end whose process did not, or close them where that cannot be."""
    wanted = {names.KIND: names.KIND_DECISION, names.MODEL_NAME: model}
    for run in runs.find_all(uri, wanted, finished=False, limit=MAX_DECISIONS):
        entry = entry_of(run)
        if entry.state != "interrupted":
            continue
        now = _number(registry.alias_or_none(uri, model, names.CHAMPION))
        there = {names.NO_VERSION, *registry.by_number(uri, model)}
        if entry.after not in there:
            _give_up(uri, model, entry, f"version {entry.after} is not in the registry any more")
        elif now not in (entry.before, entry.after):
            _give_up(uri, model, entry, f"meanwhile the champion was changed to {now}")
        else:
            _point(uri, model, entry)
            runs.finish(uri, entry.run_id)
            what = f"{entry.word}, champion {entry.before} -> {entry.after}"
            say(f"decision run {entry.run_id} was interrupted ({what}) and is finished now")


def _give_up(uri: str, model: str, entry: Entry, why: str) -> None:
    """Close a decision that cannot be finished; the aliases are as if it had not been begun."""
    there = registry.by_number(uri, model)
    champion = registry.alias_or_none(uri, model, names.CHAMPION)
    previous = registry.alias_or_none(uri, model, names.PREVIOUS)
    if champion is None and entry.before in there:
        registry.set_alias(uri, there[entry.before], names.CHAMPION)  # MLflow took it with `after`
    if previous is not None and previous.version in (_number(champion), entry.before):
        _set_previous(uri, history(uri, model), there)
    reasons = [*entry.reasons, f"given up: {why}"]
    runs.set_tags(uri, entry.run_id, {names.REASONS: "\n".join(reasons)[-_LONGEST_TAG:]})
    runs.finish(uri, entry.run_id, "KILLED")
    say(f"decision run {entry.run_id} was interrupted and is given up: {why}")


def _carry_out(uri: str, model: str, run_id: str, held: Lease) -> None:
    """Move the aliases as a recorded decision says, and finish its run.

    Raises:
        LeaseLost: another process decides now, and settles this decision.
        MlflowException: the aliases may not be moved; nothing has changed.
        Refused: MLflow went away in the middle.
    """
    entry = entry_of(runs.get(uri, run_id))
    held.check()
    try:
        _point(uri, model, entry)
        runs.finish(uri, run_id)
    except MlflowException as error:
        try:
            _give_up(uri, model, entry, str(error).splitlines()[0])
        except MlflowException:
            raise Refused(
                f"MLflow went away while {model} got another champion ({str(error)[:200]}): when "
                f"it answers, any promote.py brings decision run {run_id} to its end"
            ) from error
        raise


def _point(uri: str, model: str, entry: Entry) -> None:
    """Point `previous` and then `champion` where a decision says: as often as one likes."""
    if entry.after != entry.before:
        there = registry.by_number(uri, model)
        _set_previous(uri, (*history(uri, model), entry), there)
        registry.set_alias(uri, there[entry.after], names.CHAMPION)


def _set_previous(uri: str, entries: Sequence[Entry], there: Mapping[str, Version]) -> None:
    """Point `previous` at the nearest earlier champion; remove it without one."""
    earlier = earlier_champions(entries, there)
    if earlier:
        registry.set_alias(uri, there[earlier[0]], names.PREVIOUS)
    elif there:
        registry.remove_alias(uri, next(iter(there.values())), names.PREVIOUS)


def _number(version: Version | None) -> str:
    return version.version if version else names.NO_VERSION


def _who(number: str | None) -> str:
    return f"version {number}" if number else "no champion"
