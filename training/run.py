"""Door: train STTN, or resume a run by the same command.

python training/run.py demo                  # two CPU cores, minutes; data from `make demo`
python training/run.py youtube-vos --workers 8 --data s3://lake/curated/youtube-vos/v1 ...
python training/run.py demo --clips 1600     # go on with a run
python training/run.py youtube-vos --plan --nodes 1 --gpus-per-node 8
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro

from data_pipeline.door import UserError, nearest, parse, print_json, run_door, say
from mlops.tracking import absolute_uri
from training.config import TrainConfig, resolve
from training.config_json import config_digest, to_json
from training.launch import launch
from training.machines import Machines
from training.plan import as_json, in_words, plan
from training.presets import DEFAULT, PRESETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A run, and how to go about it."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """The run; defaults are those of the preset."""
    dry_run: bool = False
    """Print the whole resolved run as one JSON document and touch nothing."""
    json: bool = False
    """End with one line of JSON: run, clips, checkpoint, weights_sha256, model; or the plan."""
    plan: bool = False
    """Print what the run would need of the machines below, and touch nothing."""
    machines: Annotated[Machines, tyro.conf.arg(name="")] = field(default_factory=Machines)
    """What --plan is asked about."""


def _body(argv: Sequence[str]) -> int:
    preset, flags = _preset(argv)
    asked = parse(
        Invocation,
        flags,
        prog="training/run.py [PRESET]",
        description=(
            f"{__doc__}\nPRESET is one of {', '.join(sorted(PRESETS))} (default {DEFAULT}); the "
            f"defaults below are those of {preset}."
        ),
        default=Invocation(config=PRESETS[preset]),
    )
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


def _preset(argv: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The preset's name, and the flags after it."""
    if not argv or argv[0].startswith("-"):
        return DEFAULT, argv
    if argv[0] not in PRESETS:
        raise UserError(
            f"unknown preset {argv[0]!r}{nearest(argv[0], PRESETS)}: "
            f"there are {', '.join(sorted(PRESETS))}"
        )
    return argv[0], argv[1:]


def main(argv: Sequence[str] | None = None) -> int:
    """Train from the command line; returns the exit code."""
    return run_door(_body, argv)


if __name__ == "__main__":
    sys.exit(main())
