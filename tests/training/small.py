"""The product's networks and batches, as small as their layers allow.

B clips, T frames, 16x16 pixels (a 4x4 feature map, cut whole and in quarters).
"""

import torch

from training.config.train_config import LossConfig, OptimiserConfig, TrainConfig
from training.learn.adversary import Adversary
from training.learn.batch import Batch
from training.model.discriminator import Discriminator, initialise_vectors
from training.model.generator import Generator, initialise

SIDE = 16  # pixels
GRIDS = (1, 2)
FRAMES = 3
# Where a gradient is truly zero, Adam makes rate * 1e-17 / 1e-8 of its rounding: 1e-13 here.
RATES = (1e-4, 1e-4)
STD = 0.3  # of the weights: outputs then differ visibly from grey and from each other


def small_generator(seed=0, *, masked_attention=False, blocks=2, fill="none", trained=False):
    """With a fill it returns the fill unchanged, unless it is `trained`: has a random decoder."""
    generator = Generator(8, blocks, GRIDS, masked_attention, fill=fill)
    random = torch.Generator().manual_seed(seed)
    initialise(generator, STD, random)
    if trained:
        initialise(generator.decoder, STD, random)
    return generator


def small_discriminator(seed=0):
    discriminator = Discriminator(2)
    random = torch.Generator().manual_seed(seed)
    initialise(discriminator, STD, random)
    initialise_vectors(discriminator, random)
    return discriminator


def small_adversary(
    *,
    micro_batch_clips=4,
    batch_clips=4,
    learning_rates=RATES,
    ema_half_life_clips=16.0,
    decay_every_clips=0,
    local_counts=False,
    dtype=torch.float64,
    autocast=None,
    spread=lambda _generator, _discriminator: None,
    fill="none",
    error="l1",
    adversarial=0.01,
):
    """`spread` may shard the networks before the optimisers see them."""
    generator = small_generator(fill=fill, trained=fill != "none").to(dtype)
    discriminator = small_discriminator().to(dtype)
    spread(generator, discriminator)
    config = TrainConfig(
        clips=batch_clips,
        batch_clips=batch_clips,
        micro_batch_clips=micro_batch_clips,
        workers=1,
        loss=LossConfig(
            normalisation="local" if local_counts else "global",
            error=error,
            adversarial=adversarial,
        ),
        optimiser=OptimiserConfig(
            generator_learning_rate=learning_rates[0],
            discriminator_learning_rate=learning_rates[1],
            decay_every_clips=decay_every_clips,
            decays=1,
            ema_half_life_clips=ema_half_life_clips,
        ),
    )
    return Adversary(generator, discriminator, config, autocast)


def random_batch(seed, clips=4, frames=FRAMES, dtype=torch.float64, side=SIDE, fill="none"):
    """Clips with different hole shares; about half of a fill is confident."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(clips, frames, 3, side, side, generator=random, dtype=dtype)
    share = torch.linspace(0.2, 0.7, clips, dtype=dtype).reshape(-1, 1, 1, 1, 1)
    noise = torch.rand(clips, frames, 1, side, side, generator=random, dtype=dtype)
    truth, masks, weights = pixels * 2 - 1, (noise < share).to(dtype), torch.ones(clips).to(dtype)
    if fill == "none":
        return Batch(truth, masks, weights)
    found = torch.rand(truth.shape, generator=random, dtype=dtype) * 2 - 1
    belief = torch.rand(clips, frames, 2, side, side, generator=random, dtype=dtype)
    filled = truth * (1 - masks) + found * masks
    other = torch.rand(truth.shape, generator=random, dtype=dtype) * 2 - 1
    alone = truth * (1 - masks) + other * masks
    return Batch(truth, masks, weights, filled, 1 - masks + belief * masks, alone)


def copies(tensors):
    """Copies of the current values of tensors."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def furthest(found, wanted):
    """(largest difference, name of the tensor that has it) of two dictionaries of tensors."""
    assert found.keys() == wanted.keys()
    return max((float((found[name] - wanted[name]).abs().max()), name) for name in found)
