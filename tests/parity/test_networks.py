"""One forward pass of each network at its full size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity import formula
from tests.parity.official import NUMBERS, clip, discriminator, generator, shapes
from training.model.discriminator import power_iteration


@pytest.fixture(scope="module")
def numbers():
    with np.load(Path(__file__).parent / "numbers.npz") as file:
        return dict(file)


def furthest(found, wanted):
    assert found.shape == wanted.shape
    return np.abs(found.numpy() - wanted).max()


def root_mean_square(found, wanted):
    return np.sqrt(np.mean((found.numpy() - wanted) ** 2))


def test_the_formula_gives_the_weights_and_inputs_that_were_used():
    found = {}
    for network, weight in (
        ("generator", formula.generator_weight),
        ("discriminator", formula.discriminator_weight),
    ):
        arrays = (weight(key, shape) for key, shape in shapes(network).items())
        found[f"all weights {network}"] = formula.sha256_of(arrays)
    for name, frames in (("sttn/clipA", 5), ("sttn/clipB0", 3), ("sttn/clipB1", 3)):
        found[f"video {name}"] = formula.sha256_of([formula.video(name, frames)])
        found[f"rect_mask {name}"] = formula.sha256_of([formula.rect_mask(name, frames)])
    wanted = json.loads(NUMBERS.read_text())["sha256"]
    assert found == {name: wanted[name] for name in found}


@torch.no_grad()
def test_the_generator_equals_the_official_one_layer_by_layer(numbers):
    network = generator()
    frames, masks = clip("sttn/clipA", 2)
    features = network.encode((frames * (1 - masks))[0])
    found = {"encoder": features}
    for number, block in enumerate(network.transformer):
        features = block(features, torch.zeros(2, 1, 60, 108), clips=1)
        found[f"block{number}"] = features
    for name, tolerance in (("encoder", 5e-5), ("block0", 5e-3), ("block7", 5e-3)):
        assert furthest(found[name][:, ::15, ::6, ::7], numbers[f"generator/A2/{name}"]) < tolerance
    output = network.decode(features)[:, :, ::6, ::6]
    assert furthest(output, numbers["generator/A2/output"]) < 5e-4
    assert root_mean_square(output, numbers["generator/A2/output"]) < 2e-5


@torch.no_grad()
def test_masked_attention_on_a_batch_equals_the_official_fill_made_to_work(numbers):
    network = generator(masked_attention=True)
    frames, masks = (
        torch.cat(both) for both in zip(clip("sttn/clipB0", 3), clip("sttn/clipB1", 3), strict=True)
    )
    output = network(frames * (1 - masks), masks).flatten(0, 1)[:, :, ::6, ::6]
    wanted = numbers["generator/B2x3_masked_attention/output"]
    assert furthest(output, wanted) < 5e-4
    assert root_mean_square(output, wanted) < 2e-5


@torch.no_grad()
def test_the_discriminator_equals_the_official_one_after_one_and_two_power_iterations(numbers):
    network = discriminator()
    frames, _ = clip("sttn/clipA", 5)
    for turn in (1, 2):
        for layer in network.spectral_layers():
            layer.u, layer.v = power_iteration(layer.weight, layer.u)
        wanted = numbers[f"discriminator/A5_train_forward{turn}"]
        assert furthest(network(frames)[:, :, ::2], wanted) < 5e-5
        if turn == 1:
            for i, layer in enumerate(network.spectral_layers()):
                name = f"discriminator/after_forward1/conv.{2 * i}.weight_u"
                assert furthest(layer.u, numbers[name]) < 1e-6
