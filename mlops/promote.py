"""Apply the rule to the evaluation of a version; move the alias `champion`, or refuse.

$ python mlops/promote.py --tracking-uri URI                       decide about the candidate
$ python mlops/promote.py --rollback --why "worse on my videos"    return to `previous`
$ python mlops/promote.py --history                                all decisions

Inside the hole a champion must lie above the best fill that learns nothing (`evaluate --help` says
what they are). `--floors trivial` asks for less, for smoke tests, and every decision says so.

Every decision is a run of its own with its reasons, written before an alias moves. Exit 0:
promoted, rolled back, or champion already; 1: refused, with the reasons; 2: not evaluated yet.
"""

import sys
from collections.abc import Sequence

from data_pipeline.cli.command import parse, print_json, say
from data_pipeline.tracking import store_uri
from mlops.config import PROMOTE_GROUPS, RENAMED, PromoteConfig
from mlops.tracking import names
from mlops.tracking.command import run_command
from mlops.tracking.model_uri import parse_model_uri


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    config = parse(
        PromoteConfig,
        argv,
        prog="promote",
        description=str(__doc__),
        renamed=RENAMED,
        groups=PROMOTE_GROUPS,
    )
    uri = store_uri.absolute(config.tracking_uri)
    name, _, _ = parse_model_uri(config.model)

    from mlops.promotion import decisions, printing, promotion
    from mlops.tracking import locks, registry

    if config.history:
        entries = decisions.history(uri, name, unfinished=True)
        printing.print_history(entries, name, with_json=config.json)
        return 0
    leases = locks.folder_of(uri, config.leases)
    if config.rollback:
        registry.resolve(uri, f"models:/{name}@{names.CHAMPION}")
        decided = promotion.roll_back(uri, name, leases, config.why)
        say(f"models:/{name}/{decided.champion} is the champion again ({decided.run_id})")
    else:
        version = registry.resolve(uri, config.model)
        decided = promotion.decide(uri, version, config.rule, leases)
        printing.print_decision(decided, version.uri)
    if config.json:
        print_json(printing.as_json(decided))
    printing.raise_if_refused(decided, config.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
