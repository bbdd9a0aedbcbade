"""Door: score a registered version on the fixed clips and holes of a held-out split.

`python mlops/evaluate.py --model models:/sttn@candidate --data URI --tracking-uri URI`

The version is loaded through the registry only, in processes of its own; so is the champion, on
the same clips. The two trivial fills (mean of the frame, mean of a ring round the hole) are scored
with it. The same versions, data and protocol are evaluated once. `--promote` decides when it is
done; `--watch` does so for every version that is registered.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from data_pipeline import lake
from data_pipeline.door import UserError, parse, print_json, say
from data_pipeline.reader import DataSet
from mlops import (
    claims,
    columns,
    i3d,
    names,
    promote,
    promotion,
    registry,
    results,
    tracking,
    watcher,
)
from mlops.config import EvaluateConfig
from mlops.door import run_door
from mlops.evaluation import Plan, done, evaluate, opponent
from mlops.promotion import Decided, Outdated
from mlops.protocol import PROTOCOLS, Protocol
from mlops.registry import Version
from mlops.results import Evaluation

_MOST_CHAMPIONS = 5  # that come while a version is evaluated against the one before


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    about = f"{__doc__}\n\nWhat is measured:\n\n{columns.table()}"
    config = parse(EvaluateConfig, argv, prog="evaluate", description=about)
    uri = tracking.absolute_uri(config.tracking_uri)
    data_uri = lake.absolute(config.data)
    plan = Plan(
        tracking_uri=uri,
        data_uri=data_uri,
        protocol=_protocol(config),
        workers=config.workers,
        i3d=config.i3d and lake.absolute(config.i3d),
    )
    leases = claims.folder_of(uri, config.leases)
    if config.watch:
        model, _, _ = registry.parse_uri(config.model)
        DataSet.open(data_uri)  # what is wrong with it is no version's fault
        work = partial(_watched, config, plan, leases)
        count = watcher.watch(uri, model, leases, work, until_idle=config.until_idle)
        say(f"nothing waits any more; {count} versions were evaluated here")
        return 0
    version = registry.resolve(uri, config.model)
    with claims.evaluating(leases, version) as held:
        decided = _one(config, plan, leases, version, held.check)
    if decided is not None and not config.refused_is_done:
        promote.refuse(decided, version.uri)
    return 0


def _one(
    config: EvaluateConfig,
    plan: Plan,
    leases: str,
    version: Version,
    still_ours: Callable[[], None],
) -> Decided | None:
    """Evaluate a version, and decide about it if that was asked for."""
    uri = plan.tracking_uri
    for _ in range(_MOST_CHAMPIONS):
        against = opponent(uri, config.against, version)
        run_id, already = evaluate(plan, version, against, still_ours)
        evaluation = results.read(uri, run_id)
        _report(evaluation, version, already=already)
        decided = None
        if config.promote:
            try:
                decided = promotion.decide(uri, version, config.rule, leases)
            except Outdated as error:
                say(f"{error}: the champion has changed, once more")
                continue
            promote.tell(decided, version.uri)
        # Only now: who is killed before it has decided leaves the version to the next.
        done(plan, version)
        if config.json:
            _print_json(evaluation, version, decided, already=already)
        return decided
    raise UserError(
        f"{version.uri} was evaluated against {_MOST_CHAMPIONS} champions, and each time there was "
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
    decided = _one(config, plan, leases, version, still_ours)
    if decided is not None and decided.word == names.DECISION_REFUSED:
        say(f"{version.uri} is not promoted: {'; '.join(decided.reasons)}")


def _protocol(config: EvaluateConfig) -> Protocol:
    """The preset with the deviations that were asked for."""
    protocol = replace(
        PROTOCOLS[config.protocol],
        split=config.split,
        masks=config.masks and lake.absolute(config.masks),
        flows=config.flows and lake.absolute(config.flows),
        i3d_sha256=_i3d_sha256(config),
    )
    for name in ("clips_per_video", "frames_per_clip"):
        value = getattr(config, name)
        if value is None:
            continue
        if not getattr(protocol, name):
            raise UserError(
                f"--{name.replace('_', '-')} {value}: protocol {protocol.name!r} takes whole videos"
            )
        protocol = replace(protocol, **{name: value})
    return protocol


def _i3d_sha256(config: EvaluateConfig) -> str:
    if not config.i3d:
        return ""
    with lake.local_copy(lake.absolute(config.i3d)) as path:
        return i3d.load(path, config.i3d_sha256)[1]


def _report(evaluation: Evaluation, version: Version, *, already: bool) -> None:
    word = "was already evaluated" if already else "is evaluated"
    subjects = dict.fromkeys(key.split("/")[0] for key in sorted(evaluation.means))
    out = [f"{version.uri} {word}: run {evaluation.run_id}"]
    for title, suffix in (("mean over videos", ""), ("mean over frames", names.OVER_FRAMES)):
        keys = [
            one
            for one in evaluation.protocol.measured()
            if f"{names.SUBJECT_CANDIDATE}/{one.key}{suffix}" in evaluation.means
        ]
        out.append(f"{title:20}" + "".join(f"{one.label:>22}" for one in keys))
        for subject in subjects:
            row = [(evaluation.means[f"{subject}/{one.key}{suffix}"], one.digits) for one in keys]
            out.append(f"{subject:20}" + "".join(f"{value:22.{digits}f}" for value, digits in row))
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
        facts["decision"] = promote.as_json(decided)
    print_json(facts)


if __name__ == "__main__":
    sys.exit(main())
