"""The formulas against torch's own counter, and against published figures."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.training.small import FRAMES, SIDE, random_batch, small_adversary
from training.model.discriminator import Discriminator
from training.model.generator import Generator
from training.planning.flops import discriminator_flops, generator_flops, training_flops

SHAPES = [
    (Generator(channels=8, blocks=2, grids=(1, 2)), 3, 16, 24),
    (Generator(channels=24, blocks=1, grids=(1, 2, 4)), 1, 32, 32),
    (Generator(channels=8, blocks=3, patch_sizes=((3, 2), (1, 4))), 2, 16, 24),
    (Generator(channels=8, blocks=2, grids=(1, 2), fill="propagate"), 3, 16, 24),
]


def counted(work):
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize(("generator", "frames", "height", "width"), SHAPES)
@torch.no_grad()
def test_flops_of_the_generator(generator, frames, height, width):
    clip = torch.zeros(1, frames, 3, height, width)
    more = [] if generator.fill == "none" else [clip[:, :, :2], clip]
    found = counted(lambda: generator(clip, clip[:, :, :1], *more))
    assert found == generator_flops(generator, frames, height, width)


@pytest.mark.parametrize(("frames", "height", "width"), [(3, 64, 96), (1, 48, 50)])
@torch.no_grad()
def test_flops_of_the_discriminator(frames, height, width):
    discriminator = Discriminator(channels=4)
    found = counted(lambda: discriminator(torch.zeros(1, frames, 3, height, width)))
    assert found == sum(discriminator_flops(discriminator, frames, height, width))


@pytest.mark.parametrize("fill", ["none", "propagate"])
def test_flops_of_a_training_iteration(fill):
    adversary = small_adversary(micro_batch_clips=2, batch_clips=2, fill=fill)
    batch = random_batch(0, clips=2, fill=fill)
    networks = adversary.generator, adversary.discriminator
    found = counted(lambda: adversary.learn(batch, 0))
    assert found == 2 * training_flops(*networks, FRAMES, SIDE, SIDE)


def test_flops_of_an_iteration_without_a_discriminator():
    adversary = small_adversary(micro_batch_clips=2, batch_clips=2, adversarial=0.0)
    found = counted(lambda: adversary.learn(random_batch(0, clips=2), 0))
    assert found == 2 * training_flops(adversary.generator, None, FRAMES, SIDE, SIDE)


@pytest.mark.parametrize(("frames", "wanted"), [(1, 240.3e9), (5, 1251.7e9), (8, 2063.3e9)])
def test_flops_of_the_papers_network_match_the_published_figure(frames, wanted):
    with torch.device("meta"):
        found = generator_flops(Generator(), frames, 240, 432)
    assert found == pytest.approx(wanted, rel=1e-3)


def test_flops_of_the_official_discriminator_match():
    with torch.device("meta"):
        found = sum(discriminator_flops(Discriminator(), 5, 240, 432))
    assert found == pytest.approx(110.1e9, rel=1e-3)
