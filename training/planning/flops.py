"""Floating-point operations of the networks, by formula: two for a multiplication and its addition.

Convolutions and matrix products count, nothing else does: the usual way, and that of torch's own
counter (`torch.utils.flop_counter`). For model FLOP utilisation, also what a device reaches in a
large product. T frames, H x W frame.
"""

import time
from collections.abc import Iterator
from itertools import pairwise

import torch

from training.model.attention import patch_sizes_of
from training.model.discriminator import Discriminator
from training.model.generator import SCALE, Generator


def generator_flops(generator: Generator, frames: int, height: int, width: int) -> int:
    """One forward pass of the generator over one clip."""
    c, pixels = generator.channels, height * width
    half, features = pixels // 4, pixels // SCALE**2
    convolutions = (  # channels in and out, pixels out: encoder, decoder
        (generator.channels_in, c // 4, half),
        (c // 4, c // 4, half),
        (c // 4, c // 2, features),
        (c // 2, c, features),
        (c, c // 2, half),
        (c // 2, c // 4, half),
        (c // 4, c // 4, pixels),
        (c // 4, generator.channels_out, pixels),
    )
    outside = sum(9 * inputs * outputs * area for inputs, outputs, area in convolutions)
    blocks = len(generator.transformer) * block_flops(generator, frames, height, width)
    return 2 * frames * outside + blocks


def block_flops(generator: Generator, frames: int, height: int, width: int) -> int:
    """One forward pass of one transformer block over one clip."""
    # Queries, keys, values are 1x1; the output and both of the feed-forward are 3x3.
    convolutions = (3 + 3 * 9) * generator.channels**2 * (height * width // SCALE**2)
    attention = sum(_attention(generator, frames, height // SCALE, width // SCALE))
    return 2 * (frames * convolutions + attention)


def discriminator_flops(
    discriminator: Discriminator, frames: int, height: int, width: int
) -> Iterator[int]:
    """One forward pass of each layer over one clip: 3x5x5 convolutions, stride 2 in space."""
    c = discriminator.channels
    for number, (inputs, outputs) in enumerate(pairwise((3, c, 2 * c, *[4 * c] * 4))):
        around = 1 if number == 0 else 2
        height, width = ((side + 2 * around - 5) // 2 + 1 for side in (height, width))
        yield 2 * 3 * 5 * 5 * inputs * outputs * frames * height * width


def training_flops(
    generator: Generator,
    discriminator: Discriminator | None,
    frames: int,
    height: int,
    width: int,
) -> int:
    """One whole iteration of both networks, for one clip; what is computed again is not work.

    Without an adversarial loss there is no discriminator.

    A backward pass costs as much as the forward pass for the gradients of the inputs, and again for
    those of the weights. The first layer of a network that learns has no use for the former; a
    discriminator that is frozen, in the generator's turn, has none for the latter.
    """
    inputs, outputs = generator.channels_in, generator.channels // 4
    first_of_generator = 2 * 9 * inputs * outputs * frames * (height * width // 4)
    filling = 3 * generator_flops(generator, frames, height, width) - first_of_generator
    if discriminator is None:
        return filling
    layers = list(discriminator_flops(discriminator, frames, height, width))
    learning = 2 * (3 * sum(layers) - layers[0])  # real and fake
    frozen = 2 * sum(layers)
    return filling + learning + frozen


def matmul_flops(device: torch.device, dtype: torch.dtype, size: int = 8192) -> float:
    """FLOPs per second of a large square matrix product, measured now: a device's real peak.

    Args:
        device: a GPU takes some hundredths of a second, a CPU many seconds at this size.
        dtype: of the matrices.
        size: of their sides.
    """
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = 20
    a @ b
    _wait(device)
    began = time.perf_counter()
    for _ in range(times):
        a @ b
    _wait(device)
    return times * 2 * size**3 / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _attention(generator: Generator, frames: int, height: int, width: int) -> Iterator[int]:
    """Multiplications of each head on a feature map: the scores, and the values they weigh."""
    sizes = patch_sizes_of(generator.grids, generator.patch_sizes, height, width)
    channels = generator.channels // len(sizes)
    for pw, ph in sizes:
        tokens = frames * (height // ph) * (width // pw)
        yield 2 * tokens**2 * channels * ph * pw
