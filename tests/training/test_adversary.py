"""Both networks learning together, in float64."""

import copy
import shutil
from contextlib import contextmanager

import pytest
import torch
from torch.nn import functional
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from mlops.tracking import names
from tests.training.small import copies, furthest, random_batch, small_adversary
from training.learn import parallel
from training.model.discriminator import power_iteration

CLIPS = 4


def learn(adversary, iterations, *, first=0):
    """Iterations on batches seeded by their number; returns the last losses."""
    losses = {}
    for i in range(first, first + iterations):
        losses = adversary.learn(random_batch(i, clips=CLIPS), i * CLIPS)
    return losses


def parameters(adversary):
    both = {"generator": adversary.generator, "discriminator": adversary.discriminator}
    return {which: copies(dict(network.named_parameters())) for which, network in both.items()}


@contextmanager
def steps_of(adversary):
    """A list that fills with (learner, parameters before, parameters after) at every step."""
    owners = {
        id(parameter): which
        for which in ("generator", "discriminator")
        for parameter in getattr(adversary, which).parameters()
    }
    steps, before = [], []

    def pre(_adam, _args, _kwargs):
        before.append(parameters(adversary))

    def post(adam, _args, _kwargs):
        learners = {owners[id(one)] for group in adam.param_groups for one in group["params"]}
        assert len(learners) == 1
        steps.append((learners.pop(), before.pop(), parameters(adversary)))

    hooks = [register_optimizer_step_pre_hook(pre), register_optimizer_step_post_hook(post)]
    try:
        yield steps
    finally:
        for hook in hooks:
            hook.remove()


def same(one, other):
    return furthest(one, other)[0] == 0


@pytest.mark.parametrize(
    ("micro_batch_clips", "fill", "loss"),
    [
        (2, "none", {}),
        (1, "none", {}),
        (3, "none", {}),
        (3, "propagate", {}),
        (3, "propagate", {"error": "rmse"}),
        (3, "none", {"error": "rmse", "adversarial": 0.0}),
    ],
)
def test_micro_batches_do_not_change_the_result(micro_batch_clips, fill, loss):
    """A batch of 8 in 1, in 4, in 8 and in 3 uneven parts, over ten whole iterations."""
    at_once, in_parts = (
        small_adversary(batch_clips=8, micro_batch_clips=clips, fill=fill, **loss)
        for clips in (8, micro_batch_clips)
    )
    for i in range(10):
        whole, parts = (
            adversary.learn(random_batch(i, clips=8, fill=fill), i * 8)
            for adversary in (at_once, in_parts)
        )
        assert furthest(parts, whole)[0] < 1e-12
        difference, name = furthest(in_parts.tensors(), at_once.tensors())
        assert difference < 1e-12, f"{name} after {i + 1} iterations"
    # Both changed: the comparison means something.
    assert furthest(at_once.tensors(), small_adversary(fill=fill).tensors())[0] > 1e-3


def test_bfloat16_autocast_keeps_norms_and_losses_in_float32():
    adversary, rough = (small_adversary(dtype=torch.float32) for _ in range(2))
    batch = random_batch(0, clips=CLIPS, dtype=torch.float32)
    exact = adversary.learn(batch, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = rough.learn(batch, 0)
    found, wanted = copies(rough.tensors()), copies(adversary.tensors())
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32, name
        if name.endswith((".u", ".v")):
            # The first of three iterations begins with the same weights.
            torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=1e-3)
    for name, loss in losses.items():
        assert loss.dtype in (torch.float32, torch.float64), name
        assert float(loss) == pytest.approx(float(exact[name]), abs=0.02)


def test_local_counts_average_the_losses_of_each_rank(monkeypatch):
    whole = random_batch(0, clips=CLIPS)
    shares = whole.split(2)
    alone = [small_adversary().learn(share, 0) for share in shares]
    monkeypatch.setattr(parallel, "world", lambda: 2)
    ranks = [small_adversary(local_counts=True).learn(share, 0) for share in shares]
    together = small_adversary().learn(whole, 0)
    for name, one in alone[0].items():
        torch.testing.assert_close(ranks[0][name] + ranks[1][name], (one + alone[1][name]) / 2)
    # Hole sizes differ, so the distribution of clips over ranks matters: as in the official code.
    hole = names.LOSS_HOLE
    assert abs(float(ranks[0][hole] + ranks[1][hole] - together[hole])) > 1e-4


@pytest.mark.parametrize("micro_batch_clips", [4, 1])
def test_discriminator_then_generator_each_change_in_their_own_turn(micro_batch_clips):
    adversary = small_adversary(micro_batch_clips=micro_batch_clips)
    start = parameters(adversary)
    with steps_of(adversary) as steps:
        learn(adversary, 1)
    (first, before_first, after_first), (second, before_second, after_second) = steps
    assert (first, second) == ("discriminator", "generator")
    assert same(before_first["generator"], start["generator"])
    assert same(before_first["discriminator"], start["discriminator"])
    assert same(after_first["generator"], start["generator"])
    assert not same(after_first["discriminator"], start["discriminator"])
    assert same(before_second["generator"], start["generator"])
    assert same(before_second["discriminator"], after_first["discriminator"])
    assert same(after_second["discriminator"], after_first["discriminator"])
    assert not same(after_second["generator"], start["generator"])


def test_the_other_network_is_frozen_during_a_turn_and_unfrozen_after():
    adversary = small_adversary()
    seen = []

    def pre(_adam, _args, _kwargs):
        networks = adversary.discriminator, adversary.generator
        seen.append([[one.requires_grad for one in net.parameters()] for net in networks])

    hook = register_optimizer_step_pre_hook(pre)
    learn(adversary, 1)
    hook.remove()
    (learning, waiting), (frozen, generating) = seen
    assert all(learning)
    assert all(generating)
    assert not any(waiting)
    assert not any(frozen)
    assert all(one.requires_grad for one in adversary.generator.parameters())
    assert all(one.requires_grad for one in adversary.discriminator.parameters())


@pytest.mark.parametrize("micro_batch_clips", [4, 1])
def test_the_generator_learns_from_the_updated_discriminator(micro_batch_clips):
    adversary = small_adversary(micro_batch_clips=micro_batch_clips)
    generator, old = copy.deepcopy(adversary.generator), copy.deepcopy(adversary.discriminator)
    losses = learn(adversary, 1)

    batch = random_batch(0, clips=CLIPS)
    predicted = generator(batch.frames * (1 - batch.masks), batch.masks)
    filled = batch.frames * (1 - batch.masks) + predicted * batch.masks
    # Its last power iteration preceded the generator's turn: it scored with its current state.
    judged = -adversary.discriminator(filled).mean()
    torch.testing.assert_close(losses[names.LOSS_GENERATOR_ADVERSARIAL], judged, rtol=1e-11, atol=0)
    assert abs((judged + old(filled).mean()).item()) > 1e-6

    # With beta1 = 0, Adam's first moment is the gradient.
    error, hole = (predicted - batch.frames).abs(), batch.masks.expand_as(predicted).bool()
    total = error[hole].mean() + error[~hole].mean() + 0.01 * judged
    names_and_parameters = dict(generator.named_parameters())
    wanted = torch.autograd.grad(total, list(names_and_parameters.values()))
    recorded = adversary.tensors()
    for name, gradient in zip(names_and_parameters, wanted, strict=True):
        found = recorded[f"generator_adam.exp_avg.{name}"]
        torch.testing.assert_close(found, gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("micro_batch_clips", [4, 1])
def test_the_discriminator_learns_from_real_then_composited_clips(micro_batch_clips):
    adversary = small_adversary(micro_batch_clips=micro_batch_clips)
    judge = copy.deepcopy(adversary.discriminator)
    batch = random_batch(0, clips=CLIPS)
    with torch.no_grad():
        predicted = adversary.generator(batch.frames * (1 - batch.masks), batch.masks)
    filled = batch.frames * (1 - batch.masks) + predicted * batch.masks
    iterate(judge)
    real = functional.relu(1 - judge(batch.frames)).mean()
    real.div(2).backward()
    iterate(judge)
    fake = functional.relu(1 + judge(filled)).mean()
    fake.div(2).backward()

    losses = learn(adversary, 1)
    torch.testing.assert_close(losses[names.LOSS_DISCRIMINATOR_REAL], real.detach())
    torch.testing.assert_close(losses[names.LOSS_DISCRIMINATOR_FAKE], fake.detach())
    recorded = adversary.tensors()
    for name, parameter in judge.named_parameters():
        found = recorded[f"discriminator_adam.exp_avg.{name}"]
        torch.testing.assert_close(found, parameter.grad, rtol=1e-9, atol=1e-13)


def iterate(discriminator):
    for layer in discriminator.spectral_layers():
        layer.u, layer.v = power_iteration(layer.weight, layer.u)


@pytest.mark.parametrize("micro_batch_clips", [4, 2])
def test_without_an_adversarial_loss_the_discriminator_is_neither_asked_nor_changed(
    micro_batch_clips, monkeypatch
):
    adversary = small_adversary(micro_batch_clips=micro_batch_clips, adversarial=0.0)
    before = parameters(adversary)
    monkeypatch.setattr(adversary.discriminator, "forward", lambda *_: pytest.fail("was asked"))
    losses = learn(adversary, 2)
    after = parameters(adversary)
    assert same(before["discriminator"], after["discriminator"])
    assert furthest(before["generator"], after["generator"])[0] > 1e-4
    zero = {name for name, loss in losses.items() if loss == 0}
    assert zero == {
        names.LOSS_GENERATOR_ADVERSARIAL,
        names.LOSS_DISCRIMINATOR_REAL,
        names.LOSS_DISCRIMINATOR_FAKE,
    }
    assert set(adversary.gradient_squares) == {"generator"}


def test_losses_are_named_and_unweighted():
    adversary = small_adversary()
    batch = random_batch(0, clips=CLIPS)
    with torch.no_grad():
        filled = adversary.generator(batch.frames * (1 - batch.masks), batch.masks)
        error, hole = (filled - batch.frames).abs(), batch.masks.expand_as(filled).bool()
    losses = learn(adversary, 1)
    assert losses.keys() == {
        names.LOSS_HOLE,
        names.LOSS_VALID,
        names.LOSS_GENERATOR_ADVERSARIAL,
        names.LOSS_DISCRIMINATOR_REAL,
        names.LOSS_DISCRIMINATOR_FAKE,
    }
    torch.testing.assert_close(losses[names.LOSS_HOLE], error[hole].mean())
    torch.testing.assert_close(losses[names.LOSS_VALID], error[~hole].mean())


@pytest.mark.parametrize("micro_batch_clips", [4, 1])
def test_spectral_norms_take_three_power_iterations_one_on_the_new_weight(
    micro_batch_clips,
):
    adversary = small_adversary(micro_batch_clips=micro_batch_clips)
    layers = adversary.discriminator.spectral_layers()
    before = [(layer.weight.detach().flatten(1).clone(), layer.u.clone()) for layer in layers]
    learn(adversary, 1)
    for layer, (weight, u) in zip(layers, before, strict=True):
        updated = layer.weight.detach().flatten(1)
        assert not torch.equal(updated, weight)
        for matrix in (weight, weight, updated):
            v = functional.normalize(matrix.T @ u, dim=0)
            u = functional.normalize(matrix @ v, dim=0)
        torch.testing.assert_close(layer.u, u, rtol=0, atol=1e-14)
        torch.testing.assert_close(layer.v, v, rtol=0, atol=1e-14)


def test_the_ema_generator_decays_by_its_half_life():
    # The generator is static, so its average moves from 0 towards it, half way in 16 clips.
    adversary = small_adversary(learning_rates=(1e-30, 1e-30), ema_half_life_clips=16.0)
    wanted = {name: value.detach() for name, value in adversary.generator.named_parameters()}
    for value in adversary.ema.values():
        value.zero_()
    for share in (1 / 2, 3 / 4, 7 / 8):
        learn(adversary, 16 // CLIPS)
        scaled = {name: value * share for name, value in wanted.items()}
        assert furthest(adversary.ema, scaled)[0] < 1e-12


def test_the_ema_generator_starts_as_the_generator_and_follows_it():
    adversary = small_adversary(ema_half_life_clips=0)
    for _ in range(2):
        now = {name: value.detach() for name, value in adversary.generator.named_parameters()}
        assert furthest(adversary.ema, now)[0] == 0
        learn(adversary, 1)


def test_both_learning_rates_decay_with_the_clips_seen():
    adversary = small_adversary(learning_rates=(1e-3, 1e-5), decay_every_clips=2 * CLIPS)
    rates = []

    def pre(adam, _args, _kwargs):
        rates.append(adam.param_groups[0]["lr"])

    hook = register_optimizer_step_pre_hook(pre)
    learn(adversary, 4)
    hook.remove()
    # The discriminator's, then the generator's, of each iteration.
    assert rates == pytest.approx([1e-5, 1e-3] * 2 + [1e-6, 1e-4] * 2)
    assert adversary.set_learning_rate(CLIPS) == pytest.approx(1e-3)


def test_tensors_and_the_iteration_count_are_the_whole_state():
    through = small_adversary()
    learn(through, 4)
    resumed, loaded = small_adversary(), small_adversary()
    learn(resumed, 2)
    with torch.no_grad():
        for name, value in loaded.tensors().items():
            value.copy_(resumed.tensors()[name])
    loaded.set_iterations(2)
    learn(loaded, 2, first=2)
    assert furthest(loaded.tensors(), through.tensors())[0] == 0


def test_bfloat16_rounds_computation_but_not_stored_state():
    exact, rough = (
        small_adversary(dtype=torch.float32, autocast=dtype) for dtype in (None, torch.bfloat16)
    )
    batch = random_batch(0, dtype=torch.float32)
    wanted, found = exact.learn(batch, 0), rough.learn(batch, 0)
    for name in (names.LOSS_HOLE, names.LOSS_VALID, names.LOSS_DISCRIMINATOR_REAL):
        assert float(found[name]) == pytest.approx(float(wanted[name]), rel=2e-2)
        assert float(found[name]) != float(wanted[name])
    assert {one.dtype for one in rough.tensors().values()} == {torch.float32}


@pytest.mark.filterwarnings("ignore")  # warnings of the compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch compiles with g++")
def test_compiled_blocks_learn_the_same_with_the_same_names():
    plain, compiled = (small_adversary(dtype=torch.float64) for _ in range(2))
    parallel.compile_blocks(compiled.generator)
    batch = random_batch(0)
    assert furthest(compiled.learn(batch, 0), plain.learn(batch, 0))[0] < 1e-12
    assert furthest(compiled.tensors(), plain.tensors())[0] < 1e-9
