"""The estimate of an iteration's memory against what is really held, counted by storages."""

import dataclasses
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from data_pipeline.door import UserError
from training import footprint
from training.batch import Batch
from training.config import DiscriminatorConfig, GeneratorConfig, TrainConfig
from training.networks import build_adversary

CPU = torch.device("cpu")
SIZE = 96, 192


class Held(TorchDispatchMode):
    """Counts bytes of storages that operations made, now and at most."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.seen = weakref.WeakSet()

    def __torch_dispatch__(self, operation, _types, args=(), kwargs=None):
        outputs = operation(*args, **(kwargs or {}))
        for one in tree_leaves(outputs):
            if isinstance(one, torch.Tensor) and one.untyped_storage() not in self.seen:
                storage = one.untyped_storage()
                self.seen.add(storage)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.free, storage.nbytes())
        return outputs

    def free(self, size):
        self.now -= size


def config(**changes):
    base = TrainConfig(
        batch_clips=1,
        workers=1,
        clip_frames=3,
        generator=GeneratorConfig(channels=64, blocks=4),
        discriminator=DiscriminatorConfig(channels=16),
    )
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize(
    ("run", "clips"),
    [
        (config(), 1),
        (config(clip_frames=6), 1),
        (config(generator=GeneratorConfig(channels=64, blocks=2)), 1),
        (config(recompute_blocks=True), 1),
        (config(batch_clips=2, micro_batch_clips=2), 2),
    ],
)
def test_the_estimate_is_near_what_is_held(run, clips):
    adversary = build_adversary(run, CPU)
    frames = torch.rand(clips, run.clip_frames, 3, *SIZE)
    masks = (torch.rand(clips, run.clip_frames, 1, *SIZE) > 0.5).float()
    batch = Batch(frames, masks, torch.ones(clips))
    adversary.learn(batch, 0)
    adversary.generator.zero_grad()
    adversary.discriminator.zero_grad()
    with Held() as held:
        adversary.learn(batch, 0)
    estimate = footprint.iteration_bytes(adversary, run, clips, *SIZE)
    assert estimate == pytest.approx(held.most, rel=0.15)


def test_what_does_not_fit_is_refused_with_both_numbers_and_what_to_change(monkeypatch):
    run = config(clip_frames=300)
    adversary = build_adversary(run, CPU)
    footprint.refuse_too_large(adversary, run, SIZE, CPU, 1)
    monkeypatch.setattr(footprint, "free_bytes", lambda _device: 2**30)
    with pytest.raises(UserError) as caught:
        footprint.refuse_too_large(adversary, run, SIZE, CPU, 2)
    said = str(caught.value)
    assert "1 clips at a time, each 300 frames of 192x96 pixels" in said
    assert "and 1.0 GiB are free on cpu" in said
    assert "--micro-batch-clips" in said
    assert "--recompute-blocks" in said
