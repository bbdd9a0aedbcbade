"""A generator whose holes come filled: its initial output, and the pixels it never changes."""

import pytest
import torch
from torch.nn import functional

from mlops.tracking import names
from tests.training.small import (
    FRAMES,
    SIDE,
    random_batch,
    small_adversary,
    small_generator,
)
from training.model.generator import FILLS, Generator, unsure

WITH_A_FILL = [fill for fill in FILLS if fill != "none"]


@pytest.mark.parametrize("fill", WITH_A_FILL)
def test_an_untrained_generator_returns_the_fill(fill):
    batch = random_batch(0, fill=fill)
    assert torch.equal(small_generator(fill=fill).double()(*batch.given), batch.filled)


def trained(fill, iterations=3):
    adversary = small_adversary(fill=fill, learning_rates=(1e-2, 1e-2))
    for i in range(iterations):
        adversary.learn(random_batch(i, fill=fill), 4 * i)
    return adversary.generator


@pytest.mark.parametrize("fill", WITH_A_FILL)
def test_known_and_confident_pixels_pass_after_training(fill):
    generator, batch = trained(fill), random_batch(9, fill=fill)
    found = generator(*batch.given).detach()
    fixed = batch.open.expand_as(found) == 0
    sure = fixed & (batch.masks.expand_as(found) == 1)
    assert 0.1 < sure.double().mean() < 0.4  # and so are all that are known
    assert torch.equal(found[fixed], batch.filled[fixed])
    assert (found[~fixed] != batch.filled[~fixed]).double().mean() > 0.99


def test_confident_means_consistent_within_half_a_pixel():
    masks = torch.tensor([1.0, 1, 1, 0, 0]).reshape(1, 1, 5)
    agreement = torch.exp(-torch.tensor([0.0, 0.49, 0.51, 0, 9])).reshape(1, 1, 5)
    nearness = torch.zeros_like(agreement)  # only an input of the network
    found = unsure(masks, torch.cat([nearness, agreement]))
    assert found.flatten().tolist() == [0, 0, 1, 0, 0]


def test_losses_count_only_open_pixels_as_hole():
    """Elsewhere the generator predicts nothing that could be trained."""
    adversary, batch = small_adversary(fill="propagate"), random_batch(0, fill="propagate")
    with torch.no_grad():
        predicted = adversary.generator(*batch.given)
    error, is_open = (predicted - batch.frames).abs(), batch.open.expand_as(predicted) == 1
    assert is_open.sum() < 0.9 * 3 * batch.masks.sum()
    losses = adversary.learn(batch, 0)
    torch.testing.assert_close(losses[names.LOSS_HOLE], error[is_open].mean())
    torch.testing.assert_close(losses[names.LOSS_VALID], error[~is_open].mean())


def test_a_fully_confident_fill_gives_zero_loss_without_errors():
    adversary, batch = small_adversary(fill="propagate"), random_batch(0, fill="propagate")
    batch.belief.fill_(1)
    before = {name: one.clone() for name, one in adversary.generator.state_dict().items()}
    losses = adversary.learn(batch, 0)
    assert losses[names.LOSS_HOLE] == 0
    assert all(torch.isfinite(one) for one in losses.values())
    assert all(torch.equal(one, before[n]) for n, one in adversary.generator.state_dict().items())


def test_the_share_of_the_frame_filled_alone_is_decided_for_each_pixel():
    """Only the last layer's bias is not zero: the share is the same everywhere."""
    generator, batch = small_generator(fill="propagate").double(), random_batch(0, fill="propagate")
    with torch.no_grad():
        generator.decoder[-1].bias[3] = 0.5
        found = generator(*batch.given)
    share = torch.tanh(torch.tensor(0.5, dtype=torch.float64))
    mixed = batch.filled.lerp(batch.alone, share)
    torch.testing.assert_close(found, torch.where(batch.open == 1, mixed, batch.filled))


def gradients(generator, batch):
    loss = functional.l1_loss(generator(*batch.given), batch.frames)
    found = torch.autograd.grad(loss, list(generator.parameters()))
    return dict(zip(dict(generator.named_parameters()), found, strict=True))


@pytest.mark.parametrize("fill", WITH_A_FILL)
def test_the_last_layer_gets_gradients_first_and_all_layers_after_one_step(fill):
    generator, batch = small_generator(fill=fill).double(), random_batch(0, fill=fill)
    first = gradients(generator, batch)
    assert {name for name, one in first.items() if one.any()} == {
        "decoder.6.weight",
        "decoder.6.bias",
    }
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            parameter.sub_(first[name])
    # The softmax is invariant to a constant added to all scores.
    unseen = {n for n, one in gradients(generator, batch).items() if not one.any()}
    assert {name for name in unseen if not name.endswith("key_embedding.bias")} == set()


@pytest.mark.parametrize(
    ("fill", "given", "words"),
    [
        ("none", 2, "this generator has fill 'none': give no belief and no frames filled alone"),
        ("none", 1, "give no belief"),
        (
            "diffuse",
            0,
            r"has fill 'diffuse': give a belief \[B, T, 2, H, W\] and the frames filled",
        ),
        ("propagate", 0, "has fill 'propagate': give a belief"),
        ("propagate", 1, r"and the frames filled alone \[B, T, 3, H, W\]"),
    ],
)
def test_a_wrong_number_of_arguments_is_refused(fill, given, words):
    frames = torch.zeros(1, FRAMES, 3, SIDE, SIDE)
    more = [frames[:, :, :2], frames][:given]
    with pytest.raises(ValueError, match=words):
        small_generator(fill=fill)(frames, frames[:, :, :1], *more)


def test_an_unknown_fill_is_refused():
    with pytest.raises(ValueError, match="the fill is 'telea'; there are none, diffuse, propagate"):
        Generator(8, 1, (1, 2), fill="telea")


def test_parameter_names_are_official_and_only_the_outer_layers_are_wider():
    plain, ours = (small_generator(fill=fill).state_dict() for fill in ("none", "propagate"))
    assert list(plain) == list(ours)
    wider = {name for name, one in plain.items() if one.shape != ours[name].shape}
    assert wider == {"encoder.0.weight", "decoder.6.weight", "decoder.6.bias"}
    assert (plain["encoder.0.weight"].shape[1], ours["encoder.0.weight"].shape[1]) == (3, 9)
    assert (plain["decoder.6.weight"].shape[0], ours["decoder.6.weight"].shape[0]) == (3, 4)
