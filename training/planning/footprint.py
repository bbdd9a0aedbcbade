"""The memory of one worker, by part; a run that will not fit is refused before it begins.

Weights, Adam's moments and averages by arithmetic; temporary memory of an iteration by factors
that were counted on a CPU (storages alive at the peak).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from data_pipeline.cli.command import UserError
from training.config.train_config import TrainConfig
from training.learn import parallel
from training.model.discriminator import Discriminator
from training.model.generator import SCALE, Generator
from training.model.memory import free_bytes

# Feature maps that are held: for each block (with activation checkpointing its input alone),
# outside of the blocks in the generator's turn, and in the discriminator's.
_BLOCK, _CHECKPOINTED_BLOCK = 10, 1
_OUTSIDE_GENERATOR, _OUTSIDE_DISCRIMINATOR = 33.5, 18
# Layers of the discriminator whose weights are worked on at once: copied whole, or gathered.
_AT_ONCE, _AT_ONCE_GATHERED = 1.25, 2.5
_FLOAT32, _BFLOAT16 = 4, 2


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of one worker."""

    weights: int
    """The worker's part of both networks, and the vectors of the spectral norms."""
    moments: int
    """The worker's part of Adam's two moments."""
    average: int
    """The worker's part of the averaged generator."""
    gradients: int
    """Gradients at the peak of an iteration: the worker's part, and those not reduced yet."""
    working_weights: int
    """Normed, gathered or cast copies of weights at the peak."""
    activations: int
    """Feature maps of the clips computed at a time."""

    @property
    def iteration(self) -> int:
        """Bytes that are allocated and freed in an iteration."""
        return self.gradients + self.working_weights + self.activations

    @property
    def total(self) -> int:
        """All parts."""
        return sum(asdict(self).values())


def footprint(
    generator: Generator,
    discriminator: Discriminator,
    config: TrainConfig,
    size: tuple[int, int],
    *,
    clips: int,
    world: int,
    shards: int,
) -> Footprint:
    """The memory of a worker that computes `clips` clips at an iteration.

    Temporary memory is within 15 % of that counted for networks of 64 to 256 channels, with
    T of 3 to 6 frames, in float32 and bfloat16, in 1 and 2 processes.

    Args:
        generator: sharded or not, or on the meta device; whole sizes count.
        discriminator: likewise.
        config: the run.
        size: height and width of a frame, pixels.
        clips: of this worker's share.
        world: workers.
        shards: workers that share one copy of the networks (`parallel.shards`).
    """
    g, d = _bytes(generator.parameters()), _bytes(discriminator.parameters())
    part_g, part_d = (_part(network, shards) for network in (generator, discriminator))
    at_once = min(clips, config.micro_batch_clips or clips)
    graph_kept = at_once == clips  # of the prediction, while the discriminator learns
    number = _BFLOAT16 if config.precision == "bfloat16" else _FLOAT32
    area = (size[0] // SCALE) * (size[1] // SCALE)
    one_map = at_once * config.clip_frames * number * config.generator.channels * area
    blocks = config.generator.blocks * (
        _CHECKPOINTED_BLOCK if config.activation_checkpointing else _BLOCK
    )
    layer = max(_bytes(one.parameters()) for one in discriminator.spectral_layers())
    block = max(_bytes(one.parameters()) for one in generator.transformer)
    cast = (g + d) * _BFLOAT16 // _FLOAT32 if number == _BFLOAT16 else 0
    gathered, copied = shards > 1, world > 1 and shards == 1
    peaks = (  # gradients, working weights, maps
        (  # The discriminator has seen true and filled clips. Gradients of both, whole, add up.
            part_g + d,
            cast + d + int((_AT_ONCE_GATHERED if gathered else _AT_ONCE) * layer)
            + copied * (g + d),
            _OUTSIDE_DISCRIMINATOR + graph_kept * blocks,
        ),
        (  # The generator's backward pass. Gradients of several micro-batches, whole, add up.
            part_d + (0 if graph_kept else g),
            cast + copied * (g + d) + gathered * 2 * block,
            _OUTSIDE_GENERATOR + blocks,
        ),
    )  # fmt: skip
    gradients, working, maps = max(peaks, key=lambda one: one[0] + one[1] + one[2] * one_map)
    return Footprint(
        weights=part_g + part_d + _bytes(discriminator.buffers()),
        moments=2 * (part_g + part_d),
        average=part_g,
        gradients=gradients,
        working_weights=working,
        activations=int(maps * one_map),
    )


def refuse_too_large(
    generator: Generator,
    discriminator: Discriminator,
    config: TrainConfig,
    size: tuple[int, int],
    device: torch.device,
    workers_here: int,
) -> None:
    """Refuse a run before its first iteration when it will not fit. Collective.

    Args:
        generator: on the device.
        discriminator: on the device.
        config: the run.
        size: height and width of a frame, pixels.
        device: of this worker.
        workers_here: on this node; on a CPU they share its memory.

    Raises:
        UserError: the estimate, what is free, and what to change.
    """
    world = parallel.world()
    share = -(-config.batch_clips // world)
    # Of all nodes: unequal ones share less than this one alone could.
    shards = parallel.shards(world, config.sharding, *parallel.gathered(workers_here))
    found = footprint(
        generator, discriminator, config, size, clips=share, world=world, shards=shards
    )
    needed = found.iteration * (workers_here if device.type == "cpu" else 1)
    free = free_bytes(device)
    if free is None or needed <= free:
        return
    raise UserError(
        f"an iteration of {min(share, config.micro_batch_clips or share)} clips at a time, each "
        f"{config.clip_frames} frames of {size[1]}x{size[0]} pixels, needs about "
        f"{needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free on {device}: use a smaller "
        "--micro-batch-clips, --activation-checkpointing, --precision bfloat16, or fewer "
        "--clip-frames"
    )


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(one.numel() * _FLOAT32 for one in tensors)


def part_bytes(parameter: torch.Tensor, shards: int) -> int:
    """Bytes of the largest part: rows are shared out, and the first workers have one more."""
    return -(-len(parameter) // shards) * parameter[0].numel() * _FLOAT32


def _part(network: nn.Module, shards: int) -> int:
    return sum(part_bytes(one, shards) for one in network.parameters())
