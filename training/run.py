"""Door: train STTN, or resume a run by the same command. Its help is in `invocation.py`."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from data_pipeline.door import print_json, run_door, say
from mlops.tracking import absolute_uri
from training.config import resolve
from training.config_json import config_digest, to_json
from training.invocation import invocation
from training.launch import launch
from training.plan import as_json, in_words, plan


def _body(argv: Sequence[str]) -> int:
    preset, asked = invocation(argv)
    if asked.plan:
        found = plan(asked.config, asked.machines)
        say(in_words(asked.config, asked.machines, found))
        if asked.json:
            print_json(as_json(found, asked.machines))
        return 0
    config = resolve(asked.config, os.environ)
    config = replace(config, tracking_uri=absolute_uri(str(config.tracking_uri)))
    if asked.dry_run:
        document = {"preset": preset, "config_digest": config_digest(config), **to_json(config)}
        say(json.dumps(document, indent=2))
        return 0
    outcome = launch(config)
    say(
        f"{config.name}: {outcome.checkpoint.clips} clips, checkpoint {outcome.checkpoint.uri}, "
        f"registered as {outcome.version.uri} (@candidate)"
    )
    if asked.json:
        print_json(
            {
                "run": config.name,
                "clips": outcome.checkpoint.clips,
                "checkpoint": outcome.checkpoint.uri,
                "weights_sha256": outcome.weights_sha256,
                "model": outcome.version.uri,
            }
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Train from the command line; returns the exit code."""
    return run_door(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
