"""An evaluation, recorded once: the same versions, data and protocol are never scored twice."""

from collections.abc import Callable
from dataclasses import asdict

from data_pipeline.cli import ray_session
from data_pipeline.cli.command import UserError, say
from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.format import provenance
from data_pipeline.read.reader import DataSet
from data_pipeline.tracking import client_timeouts
from mlops.evaluation import inputs, results
from mlops.evaluation.pool import Scored, score
from mlops.evaluation.protocol import Protocol
from mlops.evaluation.scoring import Plan
from mlops.tracking import connection, names, registry, runs
from mlops.tracking.loaded_model import trained_size
from mlops.tracking.model_uri import parse_model_uri
from mlops.tracking.registry import Version

_MAX_BEGUN = 100  # evaluations of one version that are looked at
_DRAWN = 2  # clips of the best, and as many of the worst


def opponent(uri: str, requested: str, version: Version) -> Version | None:
    """Return the requested version, else the champion; None where there is none yet."""
    name, alias, _ = parse_model_uri(requested) if requested else (version.name, names.CHAMPION, "")
    if alias == names.CHAMPION:
        return registry.alias_or_none(uri, name, alias)
    return registry.resolve(uri, requested)


def evaluate(
    plan: Plan,
    version: Version,
    against: Version | None,
    still_ours: Callable[[], None] = lambda: None,
) -> tuple[str, bool]:
    """Score a version and its opponent on the same clips, unless that was done.

    The caller holds the lease of the version (`locks.evaluating`).

    Args:
        plan: on what.
        version: the candidate.
        against: the champion; itself counts as none.
        still_ours: called right before the result is recorded; what it raises ends it.

    Returns:
        The id of the evaluation run, and whether it was there already.

    Raises:
        UserError: data set, protocol and versions do not fit each other.
        Refused: a version cannot be scored.
    """
    uri = plan.tracking_uri
    itself = against is not None and against.uri == version.uri
    champion = None if itself else against
    digest = _checked(plan, version, champion)
    identity = {
        names.KIND: names.KIND_EVALUATION,
        names.MODEL_NAME: version.name,
        names.MODEL_VERSION: version.version,
        names.AGAINST_VERSION: champion.version if champion else names.NO_VERSION,
        names.DATA_DIGEST: digest,
        names.PROTOCOL_DIGEST: plan.protocol.digest(),
    }
    wanted = dict(identity)
    if itself:
        # It is the champion: what it was scored against when it became that stands.
        del wanted[names.AGAINST_VERSION]
    run_id = runs.find(uri, wanted, finished=True)
    already = run_id is not None
    if run_id is None:
        run_id = _recorded(plan, version, champion, identity, still_ours)
    still_ours()
    registry.set_tags(uri, version, {names.EVALUATION_RUN: run_id})
    return run_id, already


def done(plan: Plan, version: Version) -> None:
    """Tag a version as evaluated: no watcher evaluates it again."""
    registry.set_tags(plan.tracking_uri, version, {names.EVALUATION: names.EVALUATION_DONE})


def _checked(plan: Plan, version: Version, champion: Version | None) -> str:
    """The digest of the data set, when all fits together."""
    data_set = DataSet.open(plan.data_uri)
    if not inputs.fixed_clips(data_set, plan.protocol):
        raise UserError(
            f"{plan.data_uri} has no video in split {plan.protocol.split!r}: give --split"
        )
    for one in (version, champion):
        size = trained_size(plan.tracking_uri, one) if one else None
        if one and size and size != (data_set.width, data_set.height):
            raise UserError(
                f"{one.uri} was trained at {size[0]}x{size[1]}, the data set {data_set.uri} has "
                f"{data_set.width}x{data_set.height}: evaluate on a data set of its size"
            )
    return data_set.digest


def _recorded(
    plan: Plan,
    version: Version,
    champion: Version | None,
    identity: dict[str, str],
    still_ours: Callable[[], None],
) -> str:
    """Score everything and record it as one finished run; returns its id."""
    uri = plan.tracking_uri
    ray_session.check()
    known = runs.find(uri, identity, finished=False)
    _give_up_others(uri, version, known)
    run_id = runs.ensure(
        uri,
        run_name=f"evaluate-{version.name}-{version.version}",
        kind=names.KIND_EVALUATION,
        tags={**identity, names.COMMIT: provenance.commit()},
        run_id=known,
    )
    try:
        digest = identity[names.DATA_DIGEST]
        runs.log_data_set(uri, run_id, plan.data_uri, digest, "evaluation")
        runs.log_params(uri, run_id, asdict(plan.protocol))
        # A place that takes no files is found before hours of work.
        runs.log_json(uri, run_id, names.PROTOCOL_JSON, asdict(plan.protocol))
        with ray_session.ray_session(plan.workers):
            scored = score(plan, version, champion, _DRAWN)
        client_timeouts.restore()
        say(f"models at work {scored.busy:.0%} of the time")
        still_ours()
        _log(uri, run_id, plan.protocol, scored, identity)
    except BaseException:
        runs.finish(uri, run_id, "FAILED")
        raise
    runs.finish(uri, run_id)
    return run_id


def _give_up_others(uri: str, version: Version, ours: str | None) -> None:
    """End runs of processes that are dead: a living one would hold the version's lease."""
    begun = {
        names.KIND: names.KIND_EVALUATION,
        names.MODEL_NAME: version.name,
        names.MODEL_VERSION: version.version,
    }
    for run in runs.find_all(uri, begun, finished=False, limit=_MAX_BEGUN):
        if run.info.status == "RUNNING" and run.info.run_id != ours:
            runs.finish(uri, run.info.run_id, "KILLED")


def _log(
    uri: str, run_id: str, protocol: Protocol, scored: Scored, identity: dict[str, str]
) -> None:
    means = {**results.means(scored.scores, protocol), **scored.of_all_clips}
    with scratch_folder("evaluation") as folder:
        results.write(folder, scored.scores, protocol, means, identity)
        for name, data in scored.drawings.items():
            file = folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(data)
        connection.client(uri).log_artifacts(run_id, str(folder))
    runs.log_scalars(uri, run_id, 0, means)
