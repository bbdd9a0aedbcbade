"""Door: trace a registered version back to its run, data, code and config, in one line.

`python mlops/lineage.py models:/sttn@champion --tracking-uri URI`
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from data_pipeline.door import parse, print_json, say
from mlops import names, registry, tracking
from mlops.config import LineageConfig
from mlops.door import run_door
from mlops.registry import Version

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
    evaluation_run_id: str

    def parts(self) -> tuple[tuple[str, str], ...]:
        """(what, value) from the model back, short enough to read."""
        return (
            ("model", self.model),
            ("run", f"{self.run_name} ({self.run_id[:_SHORT]}, {self.clips} clips)"),
            ("data", self.data_digest[:_SHORT]),
            ("commit", _short_commit(self.commit)),
            ("config", self.config_digest[:_SHORT]),
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
        evaluation_run_id=version.tags.get(names.EVALUATION_RUN, "none yet"),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the door; returns its exit code."""
    return run_door(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(LineageConfig, argv, prog="lineage", description=str(__doc__))
    uri = tracking.absolute_uri(config.tracking_uri)
    found = lineage_of(uri, registry.resolve(uri, config.model))
    say(found.line())
    if config.json:
        print_json(asdict(found))
    return 0


def _short_commit(commit: str) -> str:
    """The first digits of a commit, with the `-dirty` that may follow them."""
    number, dash, rest = commit.partition("-")
    return number[:_SHORT] + dash + rest


if __name__ == "__main__":
    sys.exit(main())
