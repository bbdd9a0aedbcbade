"""The first iteration of the official training loop, whole, at full size: once, it is long."""

import json

import pytest
import torch

from mlops import names
from tests.parity.official import NUMBERS, clip, discriminator, generator, our_name
from training.adversary import Adversary
from training.batch import Batch

NETWORKS = {"D": "discriminator", "G": "generator"}
ADVERSARIAL = 0.01


@pytest.fixture(scope="module")
def official():
    return json.loads(NUMBERS.read_text())["iteration"]


@pytest.fixture(scope="module")
def iteration():
    """(losses, parameters before, everything after) of one iteration."""
    adversary = Adversary(
        generator(),
        discriminator(),
        loss_weights=(1.0, 1.0, ADVERSARIAL),
        learning_rates=(1e-4, 1e-4),
        betas=(0.0, 0.99),
        decay_every_clips=0,
        decays=0,
        ema_half_life_clips=10,
        batch_clips=1,
        micro_batch_clips=1,
    )
    before = {name: value.detach().clone() for name, value in adversary.tensors().items()}
    losses = adversary.learn(Batch(*clip("train/clip0", 3), torch.ones(1)), 0)
    return losses, before, adversary.tensors()


def by_name(official, which, what):
    """Official numbers of each parameter under our name, without `key_embedding.bias`."""
    return {
        our_name(name): value
        for name, value in official[which][what].items()
        if not name.endswith("key_embedding.bias")
    }


def test_losses(iteration, official):
    losses, _, _ = iteration
    wanted = {
        names.LOSS_DISCRIMINATOR_REAL: official["losses"]["loss/dis_vid_real"],
        names.LOSS_DISCRIMINATOR_FAKE: official["losses"]["loss/dis_vid_fake"],
        names.LOSS_HOLE: official["losses"]["loss/hole_loss"],
        names.LOSS_VALID: official["losses"]["loss/valid_loss"],
        # The official log has it weighted.
        names.LOSS_GENERATOR_ADVERSARIAL: official["losses"]["loss/gan_loss"] / ADVERSARIAL,
    }
    assert {name: float(value) for name, value in losses.items()} == {
        name: pytest.approx(value, abs=5e-6, rel=0) for name, value in wanted.items()
    }


def norm(tensor):
    """Summed in float64: single precision loses 3 in 1,000 of five million small squares."""
    return float(tensor.double().norm())


@pytest.mark.parametrize("which", NETWORKS)
def test_gradient_norms(iteration, official, which):
    _, _, after = iteration
    # With beta1 = 0, Adam's first moment is the gradient.
    for name, wanted in by_name(official, which, "grad_l2").items():
        gradient = after[f"{NETWORKS[which]}_adam.exp_avg.{name}"]
        assert norm(gradient) == pytest.approx(wanted, rel=1e-3), name


@pytest.mark.parametrize("which", NETWORKS)
def test_gradients(iteration, official, which):
    _, _, after = iteration
    for name, wanted in by_name(official, which, "grad_sample16").items():
        gradient = after[f"{NETWORKS[which]}_adam.exp_avg.{name}"].flatten()
        found = gradient[:: max(1, len(gradient) // 16)][:16]
        largest = max(map(abs, wanted))
        torch.testing.assert_close(found, torch.tensor(wanted), rtol=0, atol=1e-3 * largest)


def test_the_gradient_that_is_zero(iteration):
    _, _, after = iteration
    for name, value in after.items():
        if name.startswith("generator_adam.exp_avg.") and name.endswith("key_embedding.bias"):
            assert float(value.abs().max()) < 1e-5


@pytest.mark.parametrize("which", NETWORKS)
def test_changes_of_the_parameters(iteration, official, which):
    _, before, after = iteration
    for name, wanted in by_name(official, which, "delta_l2").items():
        key = f"{NETWORKS[which]}.{name}"
        assert norm(after[key].double() - before[key]) == pytest.approx(wanted, rel=2e-3), name
