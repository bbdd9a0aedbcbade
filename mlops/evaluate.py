"""Score a registered version on the fixed clips and holes of a held-out split.

$ python mlops/evaluate.py --model models:/sttn@candidate --data URI --tracking-uri URI

The version is loaded through the registry only, in processes of its own; so is the champion, on
the same clips. The classical fills below, which learn nothing, are scored with it: only what is
above the best of them becomes champion. The same versions, data and protocol are evaluated once.
`--promote` decides when it is done; `--watch` does so for every version that is registered.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

from data_pipeline.cli.bounds import flag
from data_pipeline.cli.command import UserError, parse
from data_pipeline.tracking import store_uri
from mlops.config import EVALUATE_GROUPS, RENAMED, EvaluateConfig
from mlops.evaluation import columns, floors
from mlops.evaluation.protocol import PROTOCOLS, Protocol
from mlops.tracking.command import run_command
from mlops.tracking.model_uri import parse_model_uri


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run_command(_body, argv)


def _body(argv: Sequence[str]) -> int:
    about = (
        f"{__doc__}\n\nWhat is measured:\n\n{columns.table()}\n\n"
        f"What is scored beside a version, as floors:\n\n{floors.table()}"
    )
    config = parse(
        EvaluateConfig,
        argv,
        prog="evaluate",
        description=about,
        renamed=RENAMED,
        groups=EVALUATE_GROUPS,
    )
    uri = store_uri.absolute(config.tracking_uri)
    protocol = _protocol(config)
    parse_model_uri(config.model)

    from mlops.promotion.candidates import evaluate_candidates

    evaluate_candidates(config, uri, protocol)
    return 0


def _protocol(config: EvaluateConfig) -> Protocol:
    """The preset with the deviations that are configured."""
    protocol = replace(PROTOCOLS[config.protocol], split=config.split)
    for name in ("clips_per_video", "frames_per_clip"):
        value = getattr(config, name)
        if value is None:
            continue
        if not getattr(protocol, name):
            raise UserError(f"{flag(name)} {value}: protocol {protocol.name!r} takes whole videos")
        protocol = replace(protocol, **{name: value})
    return protocol


if __name__ == "__main__":
    sys.exit(main())
