"""Networks and batches of the true kinds, as small as their layers allow.

B clips, T frames, 16x16 pixels (a 4x4 feature map, cut whole and in quarters).
"""

import torch

from training.adversary import Adversary
from training.batch import Batch
from training.model.discriminator import Discriminator, initialise_vectors
from training.model.generator import Generator, initialise

SIDE = 16  # pixels
GRIDS = (1, 2)
FRAMES = 3
# Where a gradient is truly zero, Adam makes rate * 1e-17 / 1e-8 of its rounding: 1e-13 here.
RATES = (1e-4, 1e-4)
STD = 0.3  # of the weights: outputs then differ visibly from grey and from each other


def small_generator(seed=0, *, masked_attention=False, blocks=2):
    generator = Generator(8, blocks, GRIDS, masked_attention)
    initialise(generator, STD, torch.Generator().manual_seed(seed))
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
):
    """`spread` may shard the networks before the optimisers see them."""
    generator, discriminator = small_generator().to(dtype), small_discriminator().to(dtype)
    spread(generator, discriminator)
    return Adversary(
        generator,
        discriminator,
        loss_weights=(1.0, 1.0, 0.01),
        learning_rates=learning_rates,
        betas=(0.0, 0.99),
        decay_every_clips=decay_every_clips,
        decays=1,
        ema_half_life_clips=ema_half_life_clips,
        local_counts=local_counts,
        batch_clips=batch_clips,
        micro_batch_clips=micro_batch_clips,
        autocast=autocast,
    )


def random_batch(seed, clips=4, frames=FRAMES, dtype=torch.float64, side=SIDE):
    """The holes of each clip have another share of the pixels."""
    random = torch.Generator().manual_seed(seed)
    pixels = torch.rand(clips, frames, 3, side, side, generator=random, dtype=dtype)
    share = torch.linspace(0.2, 0.7, clips, dtype=dtype).reshape(-1, 1, 1, 1, 1)
    noise = torch.rand(clips, frames, 1, side, side, generator=random, dtype=dtype)
    return Batch(pixels * 2 - 1, (noise < share).to(dtype), torch.ones(clips, dtype=dtype))


def copies(tensors):
    """What the tensors are now, whatever becomes of them."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def furthest(found, wanted):
    """(largest difference, name of the tensor that has it) of two dictionaries of tensors."""
    assert found.keys() == wanted.keys()
    return max((float((found[name] - wanted[name]).abs().max()), name) for name in found)
