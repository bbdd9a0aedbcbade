"""Measures what happens in a block: memory that operations allocate, collectives and bytes."""

import weakref
from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.learn.batch import Batch
from training.learn.networks import build_adversary

_KINDS = {
    "c10d::_allgather_base_": "all-gather",
    "_c10d_functional::all_gather_into_tensor": "all-gather",
    "c10d::_reduce_scatter_base_": "reduce-scatter",
    "c10d::allreduce_": "all-reduce",
}


class Held(TorchDispatchMode):
    """Peak bytes of storages that operations allocate, or have `made` before; not those `there`.

    A storage may be emptied without being freed (FSDP does that), so all are summed each time. A
    sharded tensor has no storage of its own: its local shard is counted separately.
    """

    def __init__(self, there, made=()):
        super().__init__()
        self.most = 0
        self._there = weakref.WeakSet(plain(one).untyped_storage() for one in there)
        self._made = weakref.WeakSet(plain(one).untyped_storage() for one in made)

    def __torch_dispatch__(self, operation, _types, args=(), kwargs=None):
        outputs = operation(*args, **(kwargs or {}))
        for one in tree_leaves(outputs):
            if type(one) in (torch.Tensor, torch.nn.Parameter):
                storage = one.untyped_storage()
                if storage not in self._there:
                    self._made.add(storage)
        self.most = max(self.most, sum(storage.nbytes() for storage in self._made))
        return outputs


class Exchanged(TorchDispatchMode):
    """Calls and bytes of whole tensors, by kind."""

    def __init__(self, world):
        super().__init__()
        self.times, self.payload = Counter(), Counter()
        self._world = world

    def __torch_dispatch__(self, operation, _types, args=(), kwargs=None):
        kind = _KINDS.get(operation._schema.name)
        if kind:
            largest = max(one.nbytes for one in tree_leaves(args) if isinstance(one, torch.Tensor))
            if operation._schema.name.startswith("_c10d_functional"):  # takes a shard
                largest *= self._world
            self.times[kind] += 1
            self.payload[kind] += largest
        return operation(*args, **(kwargs or {}))


def second_iteration(config, clips, size, world=1):
    """The adversary, and what this rank held and exchanged in its second iteration.

    The first leaves gradients behind, as all but a run's first do; `size` is height and width.
    """
    adversary = build_adversary(config, torch.device("cpu"), world)
    random = torch.Generator().manual_seed(0)
    shape = clips, config.clip_frames
    frames = torch.rand(*shape, 3, *size, generator=random) * 2 - 1
    holes = (torch.rand(*shape, 1, *size, generator=random) < 0.5).float()
    belief = 1 - holes.expand(*shape, 2, *size)
    filled = () if config.generator.fill == "none" else (frames, belief, frames)
    batch = Batch(frames, holes, torch.ones(clips), *filled)
    adversary.learn(batch, 0)
    networks = adversary.generator, adversary.discriminator
    gradients = [one.grad for network in networks for one in network.parameters()]
    held, exchanged = Held(adversary.tensors().values(), gradients), Exchanged(world)
    del gradients  # which would be held by nothing else
    with held, exchanged:
        adversary.learn(batch, config.batch_clips)
    return adversary, held, exchanged


def plain(tensor):
    """The local shard."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor
