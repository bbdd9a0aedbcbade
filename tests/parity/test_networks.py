"""Forward passes of each network at its full size, in float32 and float64."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity import formula
from tests.parity.official import NUMBERS, clip, discriminator, generator, shapes
from training.model.discriminator import power_iteration

pytestmark = pytest.mark.waits

HERE = Path(__file__).parent
CLIPS = {"A5": [("sttn/clipA", 5)], "A2": [("sttn/clipA", 2)],
         "B2x3": [("sttn/clipB0", 3), ("sttn/clipB1", 3)]}  # fmt: skip
FLOAT32, FLOAT64 = torch.float32, torch.float64


@pytest.fixture(scope="module")
def of_generator():
    with np.load(HERE / "generator.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def of_discriminator():
    with np.load(HERE / "discriminator.npz") as file:
        return dict(file)


def furthest(found, wanted):
    assert found.shape == wanted.shape
    return np.abs(found.numpy() - wanted).max()


def root_mean_square(found, wanted):
    return np.sqrt(np.mean((found.numpy() - wanted) ** 2))


def batch(case, dtype=FLOAT32):
    """Frames [B, T, 3, H, W] and masks [B, T, 1, H, W]."""
    frames, masks = zip(*(clip(*one) for one in CLIPS[case]), strict=True)
    return torch.cat(frames).to(dtype), torch.cat(masks).to(dtype)


def features_of(network, frames, masks):
    """What the encoder and each block give, by the reference's names."""
    clips = len(frames)
    features = network.encode((frames * (1 - masks)).flatten(0, 1))
    found = {"encoder": features}
    holes = torch.nn.functional.interpolate(masks.flatten(0, 1), scale_factor=1 / 4)
    for number, block in enumerate(network.transformer):
        features = block(features, holes, clips)
        found[f"block{number}"] = features
    return found


def test_the_formula_reproduces_the_reference_weights_and_inputs():
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


@pytest.mark.parametrize(
    ("case", "masked"),
    [("A5", False), ("A2", False), ("B2x3", False), ("A5", True), ("B2x3", True)],
)
@torch.no_grad()
def test_the_generator_equals_the_official_one_layer_by_layer(of_generator, case, masked):
    network = generator(masked_attention=masked)
    found = features_of(network, *batch(case))
    prefix = f"{case}_masked_attention" if masked else case
    compared = 0
    for name, features in found.items():
        if f"{prefix}/{name}" in of_generator:
            compared += 1
            tolerance = 5e-5 if name == "encoder" else 5e-3
            wanted = of_generator[f"{prefix}/{name}"]
            assert furthest(features[:, ::15, ::6, ::7], wanted) < tolerance, name
    assert compared == {"A5": 8 if masked else 9, "A2": 9, "B2x3": 0 if masked else 3}[case]
    output = network.decode(found["block7"])[:, :, ::6, ::6]
    assert furthest(output, of_generator[f"{prefix}/output"]) < 5e-4
    assert root_mean_square(output, of_generator[f"{prefix}/output"]) < 2e-5


@torch.no_grad()
def test_the_generator_equals_the_official_one_in_float64(of_generator):
    network = generator(dtype=FLOAT64)
    last = features_of(network, *batch("A2", FLOAT64))["block7"]
    wanted = of_generator["A2_float64/block7"]
    assert furthest(last[:, ::15, ::6, ::7][:, :, ::2, ::2], wanted) < 1e-9
    assert furthest(network.decode(last)[:, :, ::6, ::6], of_generator["A2_float64/output"]) < 1e-9


@torch.no_grad()
def test_the_forward_pass_equals_its_parts():
    network = generator()
    frames, masks = (x[..., :96, :144] for x in batch("B2x3"))
    whole = network(frames * (1 - masks), masks)
    parts = network.decode(features_of(network, frames, masks)["block7"])
    torch.testing.assert_close(whole.flatten(0, 1), parts)


@pytest.mark.parametrize(
    ("dtype", "suffix", "output", "vector"),
    [(FLOAT32, "", 5e-5, 1e-6), (FLOAT64, "_float64", 1e-10, 1e-10)],
)
@torch.no_grad()
def test_the_discriminator_equals_the_official_one_after_each_power_iteration(
    of_discriminator, dtype, suffix, output, vector
):
    network = discriminator(dtype=dtype)
    frames, _ = batch("A5", dtype)
    for turn in (1, 2):
        iterate(network)
        wanted = of_discriminator[f"A5_train_forward{turn}{suffix}"]
        assert furthest(network(frames)[:, :, ::2], wanted) < output
        if turn == 1:
            for i, layer in enumerate(network.spectral_layers()):
                name = f"after_forward1{suffix}/conv.{2 * i}"
                assert furthest(layer.u, of_discriminator[f"{name}.weight_u"]) < vector
                if not suffix:
                    assert furthest(layer.v[::8], of_discriminator[f"{name}.weight_v"]) < vector
    wanted = of_discriminator[f"A5_eval_after_2_train_forwards{suffix}"]
    assert furthest(network.eval()(frames)[:, :, ::2], wanted) < output


@torch.no_grad()
def test_separate_and_concatenated_clips_match_the_official_trainer(of_discriminator):
    frames, _ = batch("B2x3")
    for clips_apart in (True, False):
        network = discriminator()
        network.clips_apart = clips_apart
        iterate(network)
        scores = network(frames)[:, :, ::2]
        if clips_apart:
            wanted = [of_discriminator[f"{name}_alone"][0] for name in ("B0", "B1")]
            assert furthest(scores, np.stack(wanted)) < 5e-5
        else:
            wanted = of_discriminator["B2x3_official_concatenated"]
            assert furthest(scores.flatten(0, 1)[None], wanted) < 5e-5


def iterate(network):
    for layer in network.spectral_layers():
        layer.u, layer.v = power_iteration(layer.weight, layer.u)
