"""Evaluates versions, and decides about them where that is configured: one, or all that come."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from data_pipeline.cli.command import print_json, say
from data_pipeline.cli.formatting import aligned
from data_pipeline.read.reader import DataSet
from data_pipeline.storage import lake
from mlops.config import EvaluateConfig, Rule
from mlops.evaluation import i3d, results, watcher
from mlops.evaluation.evaluation import done, evaluate, opponent
from mlops.evaluation.protocol import Protocol
from mlops.evaluation.results import Evaluation
from mlops.evaluation.scoring import Plan
from mlops.promotion import gate, printing, promotion
from mlops.promotion.promotion import Decided, Outdated
from mlops.tracking import locks, names, registry
from mlops.tracking.model_uri import parse_model_uri
from mlops.tracking.registry import Version

_MAX_CHAMPIONS = 5  # that come while a version is evaluated against the one before


def evaluate_candidates(config: EvaluateConfig, uri: str, protocol: Protocol) -> None:
    """Evaluate one version, or with `watch` all that are registered.

    Args:
        config: of the command.
        uri: tracking URI, absolute.
        protocol: but for what the files say that the config names.

    Raises:
        UserError: data set, protocol and versions do not fit each other.
        Refused: the version cannot be scored, or the rule refuses it.
    """
    data_uri = lake.absolute(config.data)
    plan = Plan(
        tracking_uri=uri,
        data_uri=data_uri,
        protocol=_resolved(protocol, config),
        workers=config.workers,
        i3d=config.i3d and lake.absolute(config.i3d),
    )
    leases = locks.folder_of(uri, config.leases)
    if config.watch:
        model, _, _ = parse_model_uri(config.model)
        DataSet.open(data_uri)  # what is wrong with it is no version's fault
        work = partial(_watched, config, plan, leases)
        count = watcher.watch(uri, model, leases, work, until_idle=config.until_idle)
        say(f"nothing waits any more; {count} versions were evaluated here")
        return
    version = registry.resolve(uri, config.model)
    with locks.evaluating(leases, version) as held:
        decided = _one(config, plan, leases, version, held.check)
    if decided is not None and not config.exit_zero_on_reject:
        printing.raise_if_refused(decided, version.uri)


def _one(
    config: EvaluateConfig,
    plan: Plan,
    leases: str,
    version: Version,
    still_ours: Callable[[], None],
) -> Decided | None:
    """Evaluate a version, and decide about it where that is configured."""
    uri = plan.tracking_uri
    for _ in range(_MAX_CHAMPIONS):
        against = opponent(uri, config.against, version)
        run_id, already = evaluate(plan, version, against, still_ours)
        evaluation = results.read(uri, run_id)
        _report(evaluation, version, config.rule, already=already)
        decided = None
        if config.promote:
            try:
                decided = promotion.decide(uri, version, config.rule, leases)
            except Outdated as error:
                say(f"{error}: the champion has changed, once more")
                continue
            printing.print_decision(decided, version.uri)
        # Only now: a process that is killed before it has decided leaves the version to the next.
        done(plan, version)
        if config.json:
            _print_json(evaluation, version, decided, already=already)
        return decided
    raise Outdated(
        f"{version.uri} was evaluated against {_MAX_CHAMPIONS} champions, and each time there was "
        "another one afterwards: run the same command again when that is over"
    )


def _watched(
    config: EvaluateConfig,
    plan: Plan,
    leases: str,
    version: Version,
    still_ours: Callable[[], None],
) -> None:
    """`_one` of many: a refusal is said, and ends nothing."""
    try:
        decided = _one(config, plan, leases, version, still_ours)
    except Outdated as error:
        say(str(error))  # the version still waits
        return
    if decided is not None and decided.word == names.DECISION_REFUSED:
        say(f"{version.uri} is not promoted: {'; '.join(decided.reasons)}")


def _resolved(protocol: Protocol, config: EvaluateConfig) -> Protocol:
    """Add absolute URIs, and the digest of the weights of I3D."""
    return replace(
        protocol,
        masks=config.masks and lake.absolute(config.masks),
        flows=config.flows and lake.absolute(config.flows),
        i3d_sha256=_i3d_sha256(config),
    )


def _i3d_sha256(config: EvaluateConfig) -> str:
    if not config.i3d:
        return ""
    with lake.local_copy(lake.absolute(config.i3d)) as path:
        return i3d.load(path, config.i3d_sha256)[1]


def _report(evaluation: Evaluation, version: Version, rule: Rule, *, already: bool) -> None:
    word = "was already evaluated" if already else "is evaluated"
    subjects = dict.fromkeys(key.split("/")[0] for key in sorted(evaluation.means))
    out = [f"{version.uri} {word}: run {evaluation.run_id}"]
    for title, suffix in (("mean over videos", ""), ("mean over frames", names.OVER_FRAMES)):
        keys = [
            one
            for one in evaluation.protocol.measured()
            if f"{names.SUBJECT_CANDIDATE}/{one.key}{suffix}" in evaluation.means
        ]
        rows = [
            (
                subject,
                *(
                    f"{evaluation.means[f'{subject}/{one.key}{suffix}']:.{one.digits}f}"
                    for one in keys
                ),
            )
            for subject in subjects
        ]
        out.append(aligned((title, *(one.label for one in keys)), rows))
    beside = gate.against_best_classical(evaluation.means, evaluation.hole_pairs(), rule)
    if beside is not None:
        out.append(beside.said)
    for key, cure in evaluation.protocol.not_measured().items():
        out.append(f"{key}: not measured: {cure}")
    say("\n".join(out))


def _print_json(
    evaluation: Evaluation, version: Version, decided: Decided | None, *, already: bool
) -> None:
    facts: dict[str, object] = {
        "run": evaluation.run_id,
        "version": version.version,
        "already": already,
        "against": evaluation.against,
        "means": results.finite(evaluation.means),
    }
    if decided is not None:
        facts["decision"] = printing.as_json(decided)
    print_json(facts)
