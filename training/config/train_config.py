"""The config of a training run: frozen values, one docstring line each, with the unit.

Every field is *trained* (it changes the weights that come out, is part of the config digest and
frozen for a run) or *operational* (free to change when the run is resumed). This file imports no
heavy library, so that any machine can check a run. `serialisation.py` writes it as JSON.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from data_pipeline.cli.bounds import bounded, flag, refuse_out_of_bounds
from data_pipeline.cli.command import UserError
from data_pipeline.storage.lake import absolute

ENVIRONMENT = {
    "data": "STTN_DATA",
    "storage": "STTN_STORAGE",
    "tracking_uri": "MLFLOW_TRACKING_URI",
}


LARGEST = 10**12  # clips, and whatever else nobody counts further than that
_LONGEST_NAME = 128  # characters: it names folders, jobs and runs


def trained(default: Any) -> Any:
    """A field that changes the trained weights: in the digest, frozen for a run."""
    return field(default=default, metadata={"trained": True})


def operational(default: Any) -> Any:
    """A field that may differ when the run is resumed."""
    return field(default=default, metadata={"trained": False})


def trained_number(default: Any, least: float, most: float, *, above: bool = False) -> Any:
    """A number, or several, that change the trained weights; with their bounds."""
    return bounded(default, least, most, above=above, trained=True)


def operational_number(default: Any, least: float, most: float) -> Any:
    """A number that may differ when the run is resumed; with its bounds."""
    return bounded(default, least, most, trained=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorConfig:
    """The generator's shape."""

    channels: int = trained_number(256, 1, 65536)
    """Channels of the feature map; a multiple of 4 and of the number of attention heads."""
    blocks: int = trained_number(8, 1, 1000)
    """Transformer blocks."""
    grids: tuple[int, ...] = trained_number((1, 3, 6, 12), 1, 1024)
    """Patches per side and frame, one number for each attention head."""
    patch_sizes: tuple[tuple[int, int], ...] = trained_number((), 1, 4096)
    """Patch width and height of each head, pixels at a quarter of the frame; none = by grids."""
    masked_attention: bool = trained(False)
    """Leave patches that lie mostly in the hole out of the keys (the official code does not)."""
    fill: Literal["none", "diffuse", "propagate"] = trained("none")
    """First fill of a hole: none (the paper), its rim, or other frames along optical flow."""

    def __post_init__(self) -> None:
        """Check that heads and widths come out even."""
        refuse_out_of_bounds(self, "--generator.{}".format)
        if not self.grids:
            raise UserError(f"generator.grids are {self.grids}; give a number for each head")
        heads = len(self.patch_sizes or self.grids)
        unit = math.lcm(4, heads)
        if self.channels % unit:
            raise UserError(
                f"generator.channels is {self.channels}; it must be a multiple of 4 and of the "
                f"number of attention heads, {heads}: "
                f"use {max(1, -(-self.channels // unit)) * unit}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorConfig:
    """The discriminator's shape."""

    channels: int = trained_number(64, 1, 65536)
    """Channels of the first layer; the others are 2 and 4 times as wide."""
    clips_apart: bool = trained(True)
    """Score each clip on its own; the official code strings those of a micro-batch together."""

    def __post_init__(self) -> None:
        """Check the width."""
        refuse_out_of_bounds(self, "--discriminator.{}".format)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """The generator's losses and their weights (paper section 3.3)."""

    error: Literal["l1", "rmse"] = trained("l1")
    """Of pixels: l1, mean absolute (the paper), or rmse, root mean squared of each frame (PSNR)."""
    hole: float = trained_number(1.0, 0, 1e6)
    """Weight of the error inside the holes."""
    valid: float = trained_number(1.0, 0, 1e6)
    """Weight of the error outside the holes."""
    adversarial: float = trained_number(0.01, 0, 1e6)
    """Weight of the adversarial loss; 0 = train without a discriminator."""
    normalisation: Literal["global", "local"] = trained("global")
    """Divide by counts of the whole batch, or (official) of each worker's share, then average."""

    def __post_init__(self) -> None:
        """Check ranges."""
        refuse_out_of_bounds(self, "--loss.{}".format)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """Adam, once for each network, and the average of the generator's weights."""

    generator_learning_rate: float = trained_number(1e-4, 0, 10, above=True)
    """Learning rate of the generator at the start."""
    discriminator_learning_rate: float = trained_number(1e-4, 0, 10, above=True)
    """Learning rate of the discriminator at the start."""
    betas: tuple[float, float] = trained_number((0.0, 0.99), 0, 0.999999)
    """Adam's decay of the first and second moment, for each iteration."""
    decay_every_clips: int = trained_number(1_200_000, 0, LARGEST)
    """Clips between divisions of both learning rates by 10; 0 = never."""
    decays: int = trained_number(2, 0, 100)
    """Maximum number of divisions by 10."""
    ema_half_life_clips: float = trained_number(10_000.0, 0, LARGEST)
    """Clips after which an old weight counts half in the averaged generator; 0 = no averaging."""
    init_std: float = trained_number(0.02, 0, 10, above=True)
    """Standard deviation of the initial weights."""

    def __post_init__(self) -> None:
        """Check ranges."""
        refuse_out_of_bounds(self, "--optimiser.{}".format)


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
    clips: int = operational_number(4_000_000, 1, LARGEST)
    """Clips to train to, counted from the start of the run; a multiple of batch_clips."""

    init: str | None = trained(None)
    """Weights to begin with: models:/NAME@ALIAS, a checkpoint or starter; default: by the seed."""
    seed: int = trained_number(0, 0, 2**63 - 1)
    """Seed of the initial weights and of the order of clips."""
    batch_clips: int = trained_number(8, 1, 10**6)
    """Clips of one iteration over all workers (the global batch)."""
    clip_frames: int = trained_number(5, 1, 1000)
    """Frames of one clip."""
    clip_references: int = trained_number(0, 0, 1000)
    """Frames from anywhere beside neighbours; 0 = none, or without propagation the official mix."""
    clip_reach: int = trained_number(10, 1, 1000)
    """Frames around its neighbours that propagation looks at; in use it looks at more."""
    flows: str | None = trained(None)
    """URI of optical flow (<video>/forward/00000.flo …) for propagation; default: OpenCV's DIS."""
    window_shards: int = trained_number(8, 1, 10**6)
    """Shards among which videos are shuffled together in one epoch."""
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = trained("auto")
    """Of products and convolutions; auto = bfloat16 where all GPUs have it, as the run began."""
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    """The generator's shape."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator's shape."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Weights of the generator's losses."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """Adam and weight averaging."""

    device: Literal["auto", "cpu", "cuda"] = operational("auto")
    """Device of the workers; cuda = one GPU for each worker, auto = cuda where Ray sees a GPU."""
    workers: int = operational_number(0, 0, 10**5)
    """Worker processes, at most one for each clip; 0 = for each GPU, or machine without GPUs."""
    min_workers: int = operational_number(0, 0, 10**5)
    """Fewest workers to train with while no more are available; 0 = all."""
    sharding: Literal["fsdp", "hsdp", "ddp"] = operational("fsdp")
    """Weights: shared by all workers, shared within a node and copied across, or copied to each."""
    worker_threads: int = operational_number(0, 0, 1024)
    """CPU threads of one worker for computing; 0 = 1 with a GPU, all of a machine without."""
    micro_batch_clips: int = operational_number(0, 0, 10**6)
    """Clips that one worker computes at a time, gradients add up; 0 = as many as fit in memory."""
    activation_checkpointing: bool = operational(False)
    """Recompute each block in the backward pass: less memory for a third more work."""
    compile: Literal["auto", "on", "off"] = operational("auto")
    """Compile the generator's blocks (torch.compile), slow to start; auto = on GPUs."""
    prefetch_clips: int = operational_number(16, 1, 10**5)
    """Clips that one worker reads ahead."""
    log_every_clips: int = operational_number(4_000, 1, LARGEST)
    """Clips between two points of the curves; rounded up to whole iterations."""
    validate_every_clips: int = operational_number(80_000, 1, LARGEST)
    """Clips between two validations, each with a picture and a video; rounded up likewise."""
    validation_clips: int = operational_number(16, 1, 10**5)
    """Fixed clips that a validation scores."""
    checkpoint_every_clips: int = operational_number(80_000, 1, LARGEST)
    """Clips between two checkpoints; rounded up to whole iterations."""
    keep_checkpoints: int = operational_number(3, 1, 10**5)
    """Newest checkpoints kept, beside the one with the lowest hole loss."""
    keep_every_clips: int = operational_number(0, 0, LARGEST)
    """Clips; the first checkpoint at or after each multiple is kept for ever. 0 = none."""
    register_every_clips: int = operational_number(0, 0, LARGEST)
    """Clips between two registrations during training; 0 = at the end only."""
    require_tracking: bool = operational(False)
    """Stop where MLflow does not answer, instead of buffering metrics until it does."""
    allow_new_data: bool = operational(False)
    """Resume a run although its data set is another one now."""
    max_restarts: int = operational_number(3, 0, 1000)
    """Restarts of all workers after failures of some; the next failure ends the run."""
    watchdog_timeout_s: int = operational_number(600, 1, 10**6)
    """Seconds without iteration, validation or checkpoint until the watchdog restarts workers."""
    profile_iterations: int = operational_number(0, 0, 1000)
    """Iterations of this start that rank 0 records for a trace in MLflow; 0 = none."""

    def __post_init__(self) -> None:
        """Check numbers against each other; every message names the cure."""
        refuse_out_of_bounds(self)
        if self.clip_references >= self.clip_frames:
            raise UserError(
                f"--clip-references {self.clip_references} of --clip-frames {self.clip_frames} "
                f"leaves no neighbours: use at most {self.clip_frames - 1}"
            )
        if self.flows and self.generator.fill != "propagate":
            raise UserError(
                f"--flows is for propagation, and generator.fill is {self.generator.fill}: leave "
                "it out, or use --generator.fill propagate"
            )
        if self.workers and self.min_workers > self.workers:
            raise UserError(
                f"--min-workers {self.min_workers} is more than --workers {self.workers}: give the "
                "least first, the most second"
            )
        if not self.name or set(self.name) - _NAME_CHARACTERS or self.name[0] in "-.":
            raise UserError(
                f"--name is {self.name!r}; use letters, digits, '-', '_' and '.' only, and begin "
                "with none of '-' and '.'"
            )
        if len(self.name) > _LONGEST_NAME:
            raise UserError(
                f"--name has {len(self.name)} characters; use at most {_LONGEST_NAME}: folders and "
                "jobs are named after it"
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


_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def is_open(config: TrainConfig) -> bool:
    """True where something is left to the hardware, and to `planning.auto` to fill."""
    return (
        "auto" in (config.device, config.precision, config.compile)
        or not config.workers
        or not config.worker_threads
        or not config.micro_batch_clips
    )


def references_of(config: TrainConfig) -> int | None:
    """Distant references of each clip; None = the official order of clips.

    Propagation needs frames that follow each other, so that 0 means none with it.
    """
    if config.generator.fill == "propagate" or config.clip_references:
        return config.clip_references
    return None


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
        flows=config.flows and absolute(config.flows),
        storage=absolute(str(found["storage"])),
        tracking_uri=str(found["tracking_uri"]),
    )
