"""Train STTN, or resume a run by the same command.

Its flags and its help are in `config/invocation.py`.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from data_pipeline.cli.command import print_json, say
from data_pipeline.tracking import store_uri
from mlops.tracking import names
from mlops.tracking.command import run_command
from training.config.invocation import Invocation, invocation
from training.config.serialisation import config_digest, to_json
from training.config.train_config import resolve


def _body(argv: Sequence[str]) -> int:
    preset, flags = invocation(argv)
    if flags.plan:
        return _print_plan(flags)
    config = resolve(flags.config, os.environ)
    config = replace(config, tracking_uri=store_uri.absolute(str(config.tracking_uri)))
    if flags.dry_run:
        digest = None if config.precision == "auto" else config_digest(config)
        document = {"preset": preset, "config_digest": digest, **to_json(config)}
        say(json.dumps(document, indent=2))
        return 0
    from training.driver.launch import launch

    outcome = launch(config)
    say(
        f"{config.name}: {outcome.checkpoint.clips} clips, checkpoint {outcome.checkpoint.uri}, "
        f"registered as {outcome.version.uri} (@candidate)"
    )
    if flags.json:
        print_json(
            {
                "run": config.name,
                "clips": outcome.checkpoint.clips,
                "checkpoint": outcome.checkpoint.uri,
                "weights_sha256": outcome.version.tags[names.WEIGHTS_SHA256],
                "model": outcome.version.uri,
            }
        )
    return 0


def _print_plan(flags: Invocation) -> int:
    from training.planning.plan import as_json, in_words, plan

    found = plan(flags.config, flags.machines)
    say(in_words(flags.config, flags.machines, found))
    if flags.json:
        print_json(as_json(found, flags.machines))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Train from the command line; returns the exit code."""
    return run_command(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
