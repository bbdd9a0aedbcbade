"""Delete old versions of a registered model.

$ python mlops/prune.py --keep 5 --tracking-uri URI

The newest stay, those with an alias or the tag `protected`, the champions that two rollbacks would
return to, and what others have copied. What stays, and why, is printed; so is what goes.
`--dry-run` deletes nothing. MLflow keeps the files of a deleted version until `mlflow gc`.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict

from data_pipeline.cli.command import parse, print_json
from data_pipeline.tracking import store_uri
from mlops.config import PRUNE_GROUPS, PruneConfig
from mlops.tracking.command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(PruneConfig, argv, prog="prune", description=str(__doc__), groups=PRUNE_GROUPS)
    uri = store_uri.absolute(config.tracking_uri)

    from mlops.promotion.pruning import prune

    pruned = prune(config, uri)
    if config.json:
        print_json({**asdict(pruned), "dry_run": config.dry_run})
    return 0


if __name__ == "__main__":
    sys.exit(main())
