"""Trace a version back to its run, data, code, config and decision, in one line.

$ python mlops/lineage.py models:/sttn@champion --tracking-uri URI

`--reproduce` scores the version once more as its evaluation did, and compares every number of every
clip; nothing is recorded. Exit 1: something differs.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict

from data_pipeline.cli.command import Refused, parse, print_json, say
from data_pipeline.tracking import store_uri
from mlops.config import LINEAGE_GROUPS, LineageConfig
from mlops.tracking.command import run_command
from mlops.tracking.model_uri import parse_model_uri


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(
        LineageConfig, argv, prog="lineage", description=str(__doc__), groups=LINEAGE_GROUPS
    )
    uri = store_uri.absolute(config.tracking_uri)
    parse_model_uri(config.model)

    from mlops.evaluation.reproduction import reproduced
    from mlops.promotion.lineage import lineage_of
    from mlops.tracking import registry

    version = registry.resolve(uri, config.model)
    found = lineage_of(uri, version)
    say("\n".join([found.line(), *(f"not there: {one}" for one in found.missing)]))
    differences = reproduced(config, uri, version) if config.reproduce else {}
    if config.json:
        print_json({**asdict(found), "differences": differences})
    if any(differences.values()):
        worst = max(differences, key=lambda one: differences[one])
        raise Refused(
            f"{version.uri} scores otherwise than its evaluation {found.evaluation_run_id} says: "
            f"{worst} by up to {differences[worst]:.3g}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
