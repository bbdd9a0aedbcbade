"""Our networks with the weights, and clips as the networks take them, of the reference set."""

import json
from pathlib import Path

import torch

from tests.parity import formula
from training.model.discriminator import Discriminator
from training.model.generator import Generator

NUMBERS = Path(__file__).parent / "numbers.json"

# Official name -> ours; the generator's are the same.
_OURS = {"weight_orig": "weight", "weight_u": "u", "weight_v": "v"}


def shapes(network):
    """Official name -> shape, in the order of the official state dictionary."""
    known = json.loads(NUMBERS.read_text())["shapes"][network]
    return {name: tuple(shape) for name, shape in known.items()}


def our_name(official):
    """conv.0.weight_orig -> conv.0.weight."""
    layer, _, last = official.rpartition(".")
    return f"{layer}.{_OURS.get(last, last)}"


def generator(*, masked_attention=False):
    network = Generator(masked_attention=masked_attention)
    network.load_state_dict(
        {
            name: torch.from_numpy(formula.generator_weight(name, shape))
            for name, shape in shapes("generator").items()
        }
    )
    return network


def discriminator():
    network = Discriminator()
    network.load_state_dict(
        {
            our_name(name): torch.from_numpy(formula.discriminator_weight(name, shape))
            for name, shape in shapes("discriminator").items()
        }
    )
    return network


def clip(name, frames):
    """[1, T, 3, H, W] in [-1, 1] and [1, T, 1, H, W], 1 in the hole."""
    pixels = torch.from_numpy(formula.network_input(formula.video(name, frames)))
    return pixels[None], torch.from_numpy(formula.rect_mask(name, frames))[None]
