"""Scores a version once more as its evaluation did, and compares every number of every clip."""

from collections.abc import Sequence
from math import inf, isnan

from data_pipeline.cli.command import Refused, UserError, say
from data_pipeline.cli.ray_session import ray_session
from data_pipeline.read.reader import DataSet
from data_pipeline.storage import lake
from mlops.config import LineageConfig
from mlops.evaluation import results
from mlops.evaluation.pool import score
from mlops.evaluation.protocol import Protocol
from mlops.evaluation.results import ClipScore
from mlops.evaluation.scoring import Plan
from mlops.tracking import names, registry
from mlops.tracking.registry import Version

_SHORT = 12  # characters of a digest in a message


def reproduced(config: LineageConfig, uri: str, version: Version) -> dict[str, float]:
    """Score a version once more as its evaluation did.

    Args:
        config: of the command.
        uri: tracking URI, absolute.
        version: evaluated before.

    Returns:
        Column -> largest difference of any subject on any clip, 0 where it is within tolerance.

    Raises:
        UserError: it was not evaluated, or the data set is another one.
        Refused: frames or holes of a clip have changed.
    """
    run_id = version.tags.get(names.EVALUATION_RUN)
    if run_id is None:
        raise UserError(f"{version.uri} was not evaluated yet: there is nothing to reproduce")
    before = results.read(uri, run_id)
    data_uri = lake.absolute(config.data) if config.data else before.data_uri
    digest = DataSet.open(data_uri).digest
    if digest != before.data_digest:
        raise UserError(
            f"{data_uri} has digest {digest[:_SHORT]}, the evaluation used "
            f"{before.data_digest[:_SHORT]}: give --data with that one"
        )
    champion = (
        registry.resolve(uri, f"models:/{version.name}/{before.against}")
        if before.against
        else None
    )
    plan = Plan(
        tracking_uri=uri, data_uri=data_uri, protocol=before.protocol, workers=config.workers
    )
    with ray_session(plan.workers):
        again = score(plan, version, champion, drawn=0).scores
    found = _differences(before.scores, again, before.protocol)
    for column, difference in found.items():
        say(f"{column}: largest difference {difference:.3g}, on {len(again)} rows")
    return {
        column: difference if difference > config.tolerance else 0.0
        for column, difference in found.items()
    }


def _differences(
    before: Sequence[ClipScore], again: Sequence[ClipScore], protocol: Protocol
) -> dict[str, float]:
    """Column -> largest difference.

    Raises:
        Refused: what was scored is not the same.
    """
    rows = {(one.subject, one.position): one for one in again}
    for one in before:
        other = rows.get((one.subject, one.position))
        if other is None or other.inputs_sha256 != one.inputs_sha256:
            raise Refused(f"clip {one.position} of video {one.video} has other frames or holes now")
    columns = [one.key for one in protocol.measured() if one.over != "clips at once"]
    return {
        column: max(
            _apart(getattr(one, column), getattr(rows[one.subject, one.position], column))
            for one in before
        )
        for column in columns
    }


def _apart(one: float, other: float) -> float:
    """Difference of two numbers; none of two that were not measured, or are infinite alike."""
    if one == other or (isnan(one) and isnan(other)):
        return 0.0
    return inf if isnan(one) or isnan(other) else abs(one - other)
