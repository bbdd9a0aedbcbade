"""What a command line asks of training: a preset, deviations, and how to go about the run.

Nothing here imports torch, ray or mlflow: a submission is checked where they are not at work.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from data_pipeline.door import UserError, nearest, parse
from training.config import TrainConfig
from training.machines import Machines
from training.presets import DEFAULT, PRESETS

_ABOUT = """Train STTN, or resume a run by the same command.

python training/run.py demo                  # two CPU cores, minutes; data from `make demo`
python training/run.py youtube-vos --workers 8 --data s3://lake/curated/youtube-vos/v1 ...
python training/run.py demo --clips 1600     # go on with a run
python training/run.py youtube-vos --plan --nodes 1 --gpus-per-node 8
"""


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


def invocation(argv: Sequence[str]) -> tuple[str, Invocation]:
    """The preset's name, and what a command line asks for.

    Raises:
        UserError: one line for whatever is wrong with it.
    """
    preset, flags = _preset(argv)
    asked = parse(
        Invocation,
        flags,
        prog="training/run.py [PRESET]",
        description=(
            f"{_ABOUT}\nPRESET is one of {', '.join(sorted(PRESETS))} (default {DEFAULT}); the "
            f"defaults below are those of {preset}."
        ),
        default=Invocation(config=PRESETS[preset]),
    )
    return preset, asked


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
