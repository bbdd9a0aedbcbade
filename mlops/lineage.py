"""Door: trace a registered version back to its run, data, code and config, in one line.

`python mlops/lineage.py models:/sttn@champion --tracking-uri URI`

`--reproduce` scores the version once more as its evaluation did, and compares every number of every
clip; nothing is recorded. Exit 1: something differs.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan

from data_pipeline import lake
from data_pipeline.door import Refused, UserError, parse, print_json, say
from data_pipeline.reader import DataSet
from data_pipeline.session import ray_session
from mlops import names, registry, results, tracking
from mlops.config import LineageConfig
from mlops.door import run_door
from mlops.evaluation import Plan
from mlops.pool import score
from mlops.protocol import Protocol
from mlops.registry import Version
from mlops.results import ClipScore

_SHORT = 12  # characters of a digest in the line
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a version comes from; `unknown` for what nobody wrote down."""

    model: str
    run_id: str
    run_name: str
    clips: str
    data_uri: str
    data_digest: str
    commit: str
    config_digest: str
    weights_sha256: str
    image: str
    evaluation_run_id: str

    def parts(self) -> tuple[tuple[str, str], ...]:
        """(what, value) from the model back, short enough to read."""
        return (
            ("model", self.model),
            ("run", f"{self.run_name} ({self.run_id[:_SHORT]}, {self.clips} clips)"),
            ("data", self.data_digest[:_SHORT]),
            ("commit", _short_commit(self.commit)),
            ("config", self.config_digest[:_SHORT]),
            ("image", self.image),
            ("evaluation", self.evaluation_run_id[:_SHORT]),
        )

    def line(self) -> str:
        """All parts in one line."""
        (_, model), *rest = self.parts()
        return " -> ".join([model, *(f"{what} {value}" for what, value in rest)])


def lineage_of(tracking_uri: str, version: Version) -> Lineage:
    """Read the lineage of a version from its tags, and from those of its run where they lack."""
    run = tracking.client(tracking_uri).get_run(version.run_id)
    tags = {**run.data.tags, **version.tags}

    def tag(key: str) -> str:
        return tags.get(key) or UNKNOWN

    return Lineage(
        model=version.uri,
        run_id=version.run_id,
        run_name=str(run.info.run_name),
        clips=tag(names.CLIPS),
        data_uri=tag(names.DATA_URI),
        data_digest=tag(names.DATA_DIGEST),
        commit=tag(names.COMMIT),
        config_digest=tag(names.CONFIG_DIGEST),
        weights_sha256=tag(names.WEIGHTS_SHA256),
        image=tag(names.IMAGE),
        evaluation_run_id=version.tags.get(names.EVALUATION_RUN, "none yet"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(LineageConfig, argv, prog="lineage", description=str(__doc__))
    uri = tracking.absolute_uri(config.tracking_uri)
    version = registry.resolve(uri, config.model)
    found = lineage_of(uri, version)
    say(found.line())
    differences = _reproduced(config, uri, version) if config.reproduce else {}
    if config.json:
        print_json({**asdict(found), "differences": differences})
    if any(differences.values()):
        worst = max(differences, key=lambda one: differences[one])
        raise Refused(
            f"{version.uri} scores otherwise than its evaluation {found.evaluation_run_id} says: "
            f"{worst} by up to {differences[worst]:.3g}"
        )
    return 0


def _reproduced(config: LineageConfig, uri: str, version: Version) -> dict[str, float]:
    """Column -> largest difference of any subject on any clip, 0 where it is within tolerance."""
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
        again = score(plan.job(version, champion, drawn=0)).scores
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
    """Difference of two numbers; none of two that were not measured."""
    if isnan(one) and isnan(other):
        return 0.0
    return float("inf") if isnan(one) != isnan(other) else abs(one - other)


def _short_commit(commit: str) -> str:
    """The first digits of a commit, with the `-dirty` that may follow them."""
    number, dash, rest = commit.partition("-")
    return number[:_SHORT] + dash + rest


if __name__ == "__main__":
    sys.exit(main())
