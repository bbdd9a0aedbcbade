"""What an iteration of both networks needs beside the weights, against what the device has left."""

import torch
from torch import nn

from data_pipeline.door import UserError
from training.adversary import Adversary
from training.config import TrainConfig
from training.model.generator import SCALE
from training.model.memory import free_bytes

# Feature maps that are held at the widest moment, counted on a CPU: for each block, and outside of
# the blocks; a block that is computed again keeps what went into it.
_BLOCK, _AGAIN, _OUTSIDE = 9, 1, 38
# Gradients, the normed weights of the discriminator, and what the optimiser works in.
_PARAMETERS = 2.25


def iteration_bytes(
    adversary: Adversary, config: TrainConfig, clips: int, height: int, width: int
) -> int:
    """Bytes that one iteration of one worker needs beside weights, moments and average: about.

    Within 15 % of what was counted for networks of 64 to 256 channels, with T of 3 to 6 frames.

    Args:
        adversary: its networks; sharded or not, whole sizes count.
        config: the run.
        clips: computed at a time.
        height: of a frame, pixels.
        width: of a frame, pixels.
    """
    shape = config.generator
    number = 2 if config.precision == "bfloat16" else 4
    one = number * config.clip_frames * shape.channels * (height // SCALE) * (width // SCALE)
    maps = _OUTSIDE + shape.blocks * (_AGAIN if config.recompute_blocks else _BLOCK)
    both: tuple[nn.Module, ...] = adversary.generator, adversary.discriminator
    parameters = sum(4 * one.numel() for network in both for one in network.parameters())
    return clips * maps * one + int(_PARAMETERS * parameters)


def refuse_too_large(
    adversary: Adversary,
    config: TrainConfig,
    size: tuple[int, int],
    device: torch.device,
    workers_here: int,
) -> None:
    """Say before the first iteration that it will not fit.

    Args:
        adversary: on the device.
        config: the run.
        size: height and width of a frame, pixels.
        device: of this worker.
        workers_here: on this node; on a CPU they share its memory.

    Raises:
        UserError: the estimate, what is free, and what to change.
    """
    share = -(-config.batch_clips // config.workers)
    clips = min(config.micro_batch_clips, share)
    needed = iteration_bytes(adversary, config, clips, *size)
    if device.type == "cpu":
        needed *= workers_here
    free = free_bytes(device)
    if free is None or needed <= free:
        return
    raise UserError(
        f"an iteration of {clips} clips at a time, each {config.clip_frames} frames of "
        f"{size[1]}x{size[0]} pixels, needs about {needed / 2**30:.1f} GiB, and "
        f"{free / 2**30:.1f} GiB are free on {device}: use a smaller --micro-batch-clips, "
        "--recompute-blocks, --precision bfloat16, or fewer --clip-frames"
    )
