"""The command line of training: a preset, flags that deviate from it, and options of the command.

Nothing here imports torch, ray or mlflow: a submission is checked where they are not at work.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated

import tyro

from data_pipeline.cli.command import UserError, nearest, parse
from training.config.machines import Machines
from training.config.presets import DEFAULT, PRESETS
from training.config.train_config import TrainConfig

_ABOUT = """Train STTN, or resume a run by the same command.

$ python training/run.py demo                 # two CPU cores, minutes; data from `make demo`
$ python training/run.py youtube-vos --data s3://lake/curated/youtube-vos/v1 ...
$ python training/run.py demo --clips 1600    # resume a run, and train it further
$ python training/run.py youtube-vos --plan --nodes 1 --gpus-per-node 8
"""
_GROUPS = {
    "training": (
        "init", "seed", "batch_clips", "clip_frames", "clip_references", "clip_reach", "flows",
        "window_shards", "precision",
    ),
    "worker": (
        "device", "workers", "min_workers", "max_restarts", "watchdog_timeout_s", "sharding",
        "worker_threads", "micro_batch_clips", "activation_checkpointing", "compile",
        "prefetch_clips",
    ),
    "checkpoint": (
        "checkpoint_every_clips", "keep_checkpoints", "keep_every_clips", "allow_new_data",
    ),
    "tracking": (
        "log_every_clips", "validate_every_clips", "validation_clips", "register_every_clips",
        "require_tracking", "profile_iterations",
    ),
    "output": ("dry_run", "json"),
    "plan": ("plan", *(one.name for one in fields(Machines))),
}  # fmt: skip
# Old flags, and what they are called now; they go with the next release.
_RENAMED = {
    "--compile-blocks": "--compile on",
    "--no-compile-blocks": "--compile off",
    "--hang-after-s": "--watchdog-timeout-s",
    "--reached": "--utilisation",
    "--recompute-blocks": "--activation-checkpointing",
    "--worker-failures": "--max-restarts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A run, and options of the command."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    """The run; defaults are those of the preset."""
    dry_run: bool = False
    """Print the run as one JSON document and touch nothing; "auto" is decided when it starts."""
    json: bool = False
    """End with one line of JSON: run, clips, checkpoint, weights_sha256, model; or the plan."""
    plan: bool = False
    """Print what the run would need of the machines below, and touch nothing."""
    machines: Annotated[Machines, tyro.conf.arg(name="")] = field(default_factory=Machines)
    """Machines to plan for."""


def invocation(argv: Sequence[str]) -> tuple[str, Invocation]:
    """The preset's name, and a command line as values.

    Raises:
        UserError: one line for whatever is wrong with it.
    """
    preset, flags = _preset(argv)
    return preset, parse(
        Invocation,
        flags,
        prog="training/run.py [PRESET]",
        description=(
            f"{_ABOUT}\nPRESET is one of {', '.join(sorted(PRESETS))} (default {DEFAULT}); the "
            f"defaults below are those of {preset}."
        ),
        default=Invocation(config=PRESETS[preset]),
        renamed=_RENAMED,
        groups=_GROUPS,
    )


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
