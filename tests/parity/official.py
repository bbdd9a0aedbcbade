"""Our networks with the weights, and clips as the networks take them, of the reference set."""

import json
from pathlib import Path

import torch

from tests.parity import formula
from training.model.official import discriminator_from_official, generator_from_official

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


def to_official(network, tensors):
    """Our state dictionary of a network under the official names."""
    names = {our_name(official): official for official in shapes(network)}
    return {names[name]: tensor for name, tensor in tensors.items()}


def weights(network, dtype):
    """The official state dictionary that the formula gives."""
    weight = {"generator": formula.generator_weight, "discriminator": formula.discriminator_weight}
    return {
        name: torch.from_numpy(weight[network](name, shape)).to(dtype)
        for name, shape in shapes(network).items()
    }


def generator(*, masked_attention=False, dtype=torch.float32):
    """Ours with these weights."""
    return generator_from_official(weights("generator", dtype), masked_attention=masked_attention)


def discriminator(*, dtype=torch.float32):
    """Ours with these weights."""
    return discriminator_from_official(weights("discriminator", dtype))


def clip(name, frames):
    """[1, T, 3, H, W] in [-1, 1] and [1, T, 1, H, W], 1 in the hole."""
    pixels = torch.from_numpy(formula.network_input(formula.video(name, frames)))
    return pixels[None], torch.from_numpy(formula.rect_mask(name, frames))[None]
