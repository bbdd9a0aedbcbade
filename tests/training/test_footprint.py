"""The estimate of a worker's memory against one measured process; two: `test_plan.py`."""

import contextlib
import dataclasses
import math

import pytest
import torch

from data_pipeline.cli.command import UserError
from tests.training.counting import second_iteration
from training.config.train_config import DiscriminatorConfig, GeneratorConfig, TrainConfig
from training.learn.networks import build_adversary
from training.planning import footprint

CPU = torch.device("cpu")
SIZE = 96, 192
BASE = TrainConfig(
    batch_clips=1,
    workers=1,
    clip_frames=3,
    micro_batch_clips=1,
    generator=GeneratorConfig(channels=64, blocks=4),
    discriminator=DiscriminatorConfig(channels=16),
)


def changed(channels=64, blocks=4, fill="none", **fields):
    """`channels` of the generator; the discriminator has a quarter."""
    shapes = {
        "generator": GeneratorConfig(channels=channels, blocks=blocks, fill=fill),
        "discriminator": DiscriminatorConfig(channels=channels // 4),
    }
    return dataclasses.replace(BASE, **shapes, **fields)


@pytest.mark.parametrize(
    ("run", "clips"),
    [
        (changed(), 1),
        (changed(clip_frames=6), 1),
        (changed(blocks=2), 1),
        (changed(blocks=8), 1),
        (changed(activation_checkpointing=True), 1),
        (changed(batch_clips=2, micro_batch_clips=2), 2),
        (changed(batch_clips=2), 2),
        (changed(channels=128), 1),
        (changed(channels=256, blocks=2), 1),
        (changed(fill="propagate"), 1),
        (changed(fill="propagate", batch_clips=2), 2),
        (changed(precision="bfloat16"), 1),
        (changed(precision="bfloat16", channels=128), 1),
        (changed(precision="bfloat16", activation_checkpointing=True), 1),
    ],
)
def test_the_memory_estimate_is_close_to_the_measurement(run, clips):
    adversary, held, _ = second_iteration(run, clips, SIZE)
    networks = adversary.generator, adversary.discriminator
    estimate = footprint.footprint(*networks, run, SIZE, clips=clips, world=1, shards=1)
    assert estimate.iteration == pytest.approx(held.most, rel=0.15)


def test_a_run_that_does_not_fit_is_refused_with_both_numbers_and_a_cure(monkeypatch):
    run = changed(clip_frames=300)
    adversary = build_adversary(run, CPU)
    networks = adversary.generator, adversary.discriminator
    footprint.refuse_too_large(*networks, run, SIZE, CPU, 1)
    monkeypatch.setattr(footprint, "free_bytes", lambda _device: 2**30)
    with pytest.raises(UserError) as caught:
        footprint.refuse_too_large(*networks, run, SIZE, CPU, 2)
    said = str(caught.value)
    assert "1 clips at a time, each 300 frames of 192x96 pixels" in said
    assert "and 1.0 GiB are free on cpu" in said
    assert "--micro-batch-clips" in said
    assert "--activation-checkpointing" in said


@pytest.mark.parametrize("others", [(2, 2), (1, 2, 2)])
def test_the_estimate_on_unequal_nodes_uses_the_actual_shards(monkeypatch, others):
    """On a node of two workers; together with a node of one, nothing is sharded."""
    run = changed(sharding="hsdp", batch_clips=8)
    adversary = build_adversary(run, CPU)
    networks = adversary.generator, adversary.discriminator
    monkeypatch.setattr(footprint.parallel, "world", lambda: len(others))
    monkeypatch.setattr(footprint.parallel, "gathered", lambda _value: list(others))
    share = -(-8 // len(others))
    needed = footprint.footprint(
        *networks, run, SIZE, clips=share, world=len(others), shards=math.gcd(*others)
    )
    for free, fits in ((2 * needed.iteration, True), (2 * needed.iteration - 1, False)):
        monkeypatch.setattr(footprint, "free_bytes", lambda _device, free=free: free)
        with contextlib.nullcontext() if fits else pytest.raises(UserError):
            footprint.refuse_too_large(*networks, run, SIZE, CPU, 2)
