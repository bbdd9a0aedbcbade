"""Losses against the official formulas on a whole batch, rewritten here in NumPy."""

import numpy as np
import pytest
import torch

from tests.training.small import random_batch
from training.learn import losses
from training.learn.batch import Batch
from training.learn.losses import Counts

CLIPS = 5
NAMES = ("hole", "valid", "real", "fake", "adversarial", "hole rmse", "valid rmse")


def shares(part, predicted, scores, counts):
    """Every loss's share of one micro-batch."""
    reconstruction = predicted, part.frames, part.masks, part.weights, counts
    return torch.stack(
        [
            losses.hole_l1(*reconstruction),
            losses.valid_l1(*reconstruction),
            losses.hinge_real(scores, part.weights, counts),
            losses.hinge_fake(scores, part.weights, counts),
            losses.adversarial(scores, part.weights, counts),
            losses.rmse(*reconstruction),
            losses.rmse(predicted, part.frames, 1 - part.masks, *reconstruction[3:]),
        ]
    )


def official(frames, masks, predicted, scores):
    """`core/trainer.py` and `core/loss.py` of the official code on one batch, and our own error."""
    level = 1 / 127.5

    def rmse(where):
        errors = ((predicted - frames) ** 2 * where).sum(axis=(2, 3, 4))
        mean = errors / (3 * where.sum(axis=(2, 3, 4)))
        return np.mean(np.sqrt(mean + level**2) - level)

    return [
        np.mean(np.abs(predicted * masks - frames * masks)) / np.mean(masks),
        np.mean(np.abs(predicted * (1 - masks) - frames * (1 - masks))) / np.mean(1 - masks),
        np.mean(np.maximum(0, 1 - scores)),
        np.mean(np.maximum(0, 1 + scores)),
        -np.mean(scores),
        rmse(masks),
        rmse(1 - masks),
    ]


@pytest.fixture
def batch():
    return random_batch(0, clips=CLIPS)


@pytest.fixture
def predicted():
    return random_batch(1, clips=CLIPS).frames


@pytest.fixture
def scores():
    random = torch.Generator().manual_seed(2)
    return 2 * torch.randn(CLIPS, 3, 4, 2, 2, generator=random, dtype=torch.float64)


def counts_of(batch):
    return Counts(*losses.count(batch.masks, batch.weights))


def exactly(found, wanted):
    torch.testing.assert_close(found, torch.as_tensor(wanted), rtol=1e-13, atol=1e-13)


def test_losses_of_a_whole_batch_match_the_official_formulas(batch, predicted, scores):
    found = shares(batch, predicted, scores, counts_of(batch))
    whole = (x.numpy() for x in (batch.frames, batch.masks, predicted, scores))
    exactly(found, official(*whole))


@pytest.mark.parametrize("clips", [1, 2, 3, 4])
def test_shares_of_micro_batches_add_up_to_the_whole(batch, predicted, scores, clips):
    counts = counts_of(batch)
    parts = zip(batch.split(clips), predicted.split(clips), scores.split(clips), strict=True)
    added = torch.stack([shares(*part, counts) for part in parts]).sum(dim=0)
    exactly(added, shares(batch, predicted, scores, counts))


@pytest.mark.parametrize("clips", [1, 2, 3])
def test_counts_of_micro_batches_add_up_to_the_whole(batch, clips):
    added = sum(losses.count(part.masks, part.weights) for part in batch.split(clips))
    exactly(added, losses.count(batch.masks, batch.weights))


def test_padding_adds_no_loss(batch, predicted, scores):
    padding = torch.tensor([4, 1])
    padded = Batch(
        torch.cat([batch.frames, batch.frames[padding]]),
        torch.cat([batch.masks, batch.masks[padding]]),
        torch.cat([batch.weights, torch.zeros(2, dtype=torch.float64)]),
    )
    exactly(losses.count(padded.masks, padded.weights), losses.count(batch.masks, batch.weights))
    padded_scores = torch.cat([scores, scores[padding] + 9]).requires_grad_()
    padded_predicted = torch.cat([predicted, predicted[padding] + 9]).requires_grad_()
    found = shares(padded, padded_predicted, padded_scores, counts_of(padded))
    exactly(found.detach(), shares(batch, predicted, scores, counts_of(batch)))
    found.sum().backward()
    for tensor in (padded_scores, padded_predicted):
        assert tensor.grad[:CLIPS].any()
        assert not tensor.grad[CLIPS:].any()


@pytest.mark.parametrize(("hole", "silent"), [(0.0, 0), (1.0, 1), (0.0, 5), (1.0, 6)])
def test_a_batch_without_holes_or_all_hole_has_no_loss_there(
    batch, predicted, scores, hole, silent
):
    flat = Batch(batch.frames, torch.full_like(batch.masks, hole), batch.weights)
    found = shares(flat, predicted, scores, counts_of(flat))
    assert found[silent] == 0
    if silent < 2:
        exactly(found[1 - silent], (predicted - batch.frames).abs().mean())
