"""What a training run is made of: frozen values, one docstring line each, with the unit.

Every field is *learnt* (it changes what is learnt, is part of the config digest and frozen for a
run) or *operational* (free to change when the run is resumed). This file imports no heavy library,
so that any machine can check a run. `config_json.py` is how it is written down.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from data_pipeline.door import UserError
from data_pipeline.lake import absolute

ENVIRONMENT = {
    "data": "STTN_DATA",
    "storage": "STTN_STORAGE",
    "tracking_uri": "MLFLOW_TRACKING_URI",
}


def learnt(default: Any) -> Any:
    """A field that changes what is learnt: in the digest, frozen for a run."""
    return field(default=default, metadata={"learnt": True})


def operational(default: Any) -> Any:
    """A field that may differ when the run is resumed."""
    return field(default=default, metadata={"learnt": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorConfig:
    """The generator's shape."""

    channels: int = learnt(256)
    """Channels of the feature map; a multiple of 4 and of the number of attention heads."""
    blocks: int = learnt(8)
    """Transformer blocks."""
    grids: tuple[int, ...] = learnt((1, 3, 6, 12))
    """Patches per side and frame, one number for each attention head."""
    patch_sizes: tuple[tuple[int, int], ...] = learnt(())
    """Patch width and height of each head, pixels at a quarter of the frame; none = by grids."""
    masked_attention: bool = learnt(False)
    """Leave patches that lie mostly in the hole out of the keys (the official code does not)."""

    def __post_init__(self) -> None:
        """Check that heads and widths come out even."""
        if not self.grids or min(self.grids) < 1:
            raise UserError(
                f"generator.grids are {self.grids}; give a number of at least 1 for each head"
            )
        if any(min(size) < 1 for size in self.patch_sizes):
            raise UserError(
                f"generator.patch_sizes are {self.patch_sizes}; give sizes of at least 1"
            )
        if self.blocks < 1:
            raise UserError(f"generator.blocks is {self.blocks}; it must be at least 1")
        heads = len(self.patch_sizes or self.grids)
        unit = math.lcm(4, heads)
        if self.channels < 1 or self.channels % unit:
            raise UserError(
                f"generator.channels is {self.channels}; it must be a multiple of 4 and of the "
                f"number of attention heads, {heads}: "
                f"use {max(1, -(-self.channels // unit)) * unit}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorConfig:
    """The discriminator's shape."""

    channels: int = learnt(64)
    """Channels of the first layer; the others are 2 and 4 times as wide."""
    clips_apart: bool = learnt(True)
    """Score each clip on its own; the official code strings those of a micro-batch together."""

    def __post_init__(self) -> None:
        """Check the width."""
        if self.channels < 1:
            raise UserError(f"discriminator.channels is {self.channels}; it must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the generator's losses (paper section 3.3)."""

    hole: float = learnt(1.0)
    """Weight of the mean absolute error inside the holes."""
    valid: float = learnt(1.0)
    """Weight of the mean absolute error outside the holes."""
    adversarial: float = learnt(0.01)
    """Weight of the adversarial loss."""
    normalisation: Literal["global", "local"] = learnt("global")
    """Divide by counts of the whole batch, or (official) of each worker's share, then average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """Adam, once for each network, and the average of the generator's weights."""

    generator_learning_rate: float = learnt(1e-4)
    """Learning rate of the generator at the start."""
    discriminator_learning_rate: float = learnt(1e-4)
    """Learning rate of the discriminator at the start."""
    betas: tuple[float, float] = learnt((0.0, 0.99))
    """Adam's decay of the first and second moment, for each iteration."""
    decay_every_clips: int = learnt(1_200_000)
    """Clips between divisions of both learning rates by 10; 0 = never."""
    decays: int = learnt(2)
    """Divisions by 10, at most."""
    ema_half_life_clips: float = learnt(10_000.0)
    """Clips after which an old weight counts half in the averaged generator; 0 = no averaging."""
    init_std: float = learnt(0.02)
    """Standard deviation of the initial weights."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("generator_learning_rate", "discriminator_learning_rate", "init_std"):
            if not getattr(self, name) > 0:
                raise UserError(f"optimiser.{name} is {getattr(self, name)}; it must be above 0")
        for name in ("decay_every_clips", "decays", "ema_half_life_clips"):
            if not getattr(self, name) >= 0:
                raise UserError(f"optimiser.{name} is {getattr(self, name)}; it must be 0 or more")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UserError(f"optimiser.betas are {self.betas}; both must lie in [0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run."""

    name: str = operational("sttn")
    """Name of the run; the same name in the same storage resumes it."""
    data: str | None = operational(None)
    """URI of the data set (a version directory of the lake); default: STTN_DATA."""
    storage: str | None = operational(None)
    """URI under which the run's checkpoints are kept; default: STTN_STORAGE."""
    tracking_uri: str | None = operational(None)
    """MLflow tracking URI; default: MLFLOW_TRACKING_URI."""
    clips: int = operational(4_000_000)
    """Clips to train to, counted from the start of the run; a multiple of batch_clips."""

    init: str | None = learnt(None)
    """Weights to begin with, models:/NAME@ALIAS or a checkpoint; default: drawn from the seed."""
    seed: int = learnt(0)
    """Seed of the initial weights and of the order of clips."""
    batch_clips: int = learnt(8)
    """Clips of one iteration over all workers (the global batch)."""
    clip_frames: int = learnt(5)
    """Frames of one clip."""
    window_shards: int = learnt(8)
    """Shards among which videos are shuffled together in one epoch."""
    precision: Literal["float32", "tf32", "bfloat16"] = learnt("float32")
    """Of products and convolutions; weights, moments, losses and spectral norms are float32."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The generator's shape."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator's shape."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the generator's losses."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """Adam and weight averaging."""

    device: Literal["cpu", "cuda"] = operational("cuda")
    """Where the workers compute; cuda = one GPU for each worker."""
    workers: int = operational(8)
    """Worker processes, at most one for each clip of the global batch."""
    min_workers: int = operational(0)
    """Workers that are enough to go on with when no more can be had; 0 = all."""
    sharding: Literal["fsdp", "hsdp", "ddp"] = operational("fsdp")
    """Weights: shared by all workers, shared within a node and copied across, or copied to each."""
    worker_threads: int = operational(1)
    """CPU threads of one worker for computing."""
    micro_batch_clips: int = operational(1)
    """Clips that one worker computes at a time; gradients add up over the rest."""
    recompute_blocks: bool = operational(False)
    """Compute each block again in the backward pass: less memory for a third more work."""
    compile_blocks: bool = operational(False)
    """Compile the generator block by block (torch.compile): slow to start, needs a C++ compiler."""
    prefetch_clips: int = operational(16)
    """Clips that one worker reads ahead."""
    log_every_clips: int = operational(4_000)
    """Clips between two points of the curves; rounded up to whole iterations."""
    validate_every_clips: int = operational(80_000)
    """Clips between two validations, each with a picture and a video; rounded up likewise."""
    validation_clips: int = operational(16)
    """Fixed clips that a validation scores."""
    checkpoint_every_clips: int = operational(80_000)
    """Clips between two checkpoints; rounded up to whole iterations."""
    keep_checkpoints: int = operational(3)
    """Newest checkpoints kept, beside the one of the least hole loss."""
    keep_every_clips: int = operational(0)
    """Clips; the first checkpoint at or after each multiple is kept for ever. 0 = none for that."""
    register_every_clips: int = operational(0)
    """Clips between two registrations while training goes on; 0 = at the end only."""
    require_tracking: bool = operational(False)
    """Stop where MLflow does not answer, instead of keeping lines until it does."""
    allow_new_data: bool = operational(False)
    """Go on with a run although its data set is another one now."""
    worker_failures: int = operational(3)
    """Failures of workers after which the run is given up."""
    hang_after_s: int = operational(600)
    """Seconds without an iteration, validation or checkpoint after which workers start again."""
    profile_iterations: int = operational(0)
    """Iterations of this start that rank 0 records for a trace in MLflow; 0 = none."""

    def __post_init__(self) -> None:
        """Check numbers against each other; every message names the cure."""
        refuse_below(self, _AT_LEAST_ONE, 1)
        refuse_below(self, _AT_LEAST_ZERO, 0)
        if self.min_workers > self.workers:
            raise UserError(
                f"--min-workers {self.min_workers} is more than --workers {self.workers}: give the "
                "least first, the most second"
            )
        if not self.name or set(self.name) - _NAME_CHARACTERS or self.name[0] in "-.":
            raise UserError(
                f"--name is {self.name!r}; use letters, digits, '-', '_' and '.' only, and begin "
                "with none of '-' and '.'"
            )
        if self.workers > self.batch_clips:
            raise UserError(
                f"{self.workers} workers share a global batch of {self.batch_clips} clips, so some "
                f"would have none: use --workers {self.batch_clips} or fewer, or a larger "
                "--batch-clips"
            )
        if self.clips % self.batch_clips:
            below = self.clips // self.batch_clips * self.batch_clips
            raise UserError(
                f"--clips {self.clips} is not a multiple of the global batch of "
                f"{self.batch_clips} clips: use {below + self.batch_clips}"
                + (f" or {below}" if below else "")
            )


_AT_LEAST_ONE = (
    "clips", "batch_clips", "clip_frames", "window_shards", "workers", "worker_threads",
    "micro_batch_clips", "prefetch_clips", "log_every_clips", "validate_every_clips",
    "validation_clips", "checkpoint_every_clips", "keep_checkpoints", "hang_after_s",
)  # fmt: skip
_AT_LEAST_ZERO = (
    "min_workers", "keep_every_clips", "register_every_clips", "worker_failures",
    "profile_iterations",
)  # fmt: skip
_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def refuse_below(values: Any, names: Sequence[str], least: int) -> None:
    """Check the least value of fields that are flags.

    Raises:
        UserError: names the first that is less, or no number.
    """
    words = f"at least {least}" if least else "0 or more"
    for name in names:
        if not getattr(values, name) >= least:
            raise UserError(f"{flag(name)} is {getattr(values, name)}; it must be {words}")


def flag(name: str) -> str:
    """How a field is called on the command line."""
    return "--" + name.replace("_", "-")


def resolve(config: TrainConfig, environment: Mapping[str, str]) -> TrainConfig:
    """Fill data, storage and tracking from the environment and make every path absolute.

    Raises:
        UserError: something is named neither by a flag nor by the environment.
    """
    found = {
        name: getattr(config, name) or environment.get(variable)
        for name, variable in ENVIRONMENT.items()
    }
    missing = [
        f"{flag(name)} (or {variable})" for name, variable in ENVIRONMENT.items() if not found[name]
    ]
    if missing:
        raise UserError(
            f"this run needs {', '.join(missing)}; to see a run that needs nothing: "
            "python training/run.py demo"
        )
    return dataclasses.replace(
        config,
        data=absolute(str(found["data"])),
        storage=absolute(str(found["storage"])),
        tracking_uri=str(found["tracking_uri"]),
    )
