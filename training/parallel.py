"""How plain networks are spread over processes: applied from outside, in one place.

The networks know nothing of it. Without a process group everything here is the identity, so that
the same code runs in one process.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from training.model.discriminator import Discriminator
from training.model.generator import Generator

T = TypeVar("T")


def shard(generator: Generator, discriminator: Discriminator, device: torch.device) -> None:
    """Shard both networks over all ranks with FSDP2: one group for each block, one for the rest.

    All ranks must hold the same values before. Gradients are *summed* over ranks: the losses are
    already shares of the global batch.
    """
    if not dist.is_initialized():
        return
    mesh = init_device_mesh(device.type, (world(),))
    for block in (*generator.transformer, generator, *discriminator.spectral_layers()):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(discriminator, mesh=mesh, reshard_after_forward=True)
    for module in (*generator.modules(), *discriminator.modules()):
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no scaled sums


def sync_gradients(network: nn.Module, on: bool) -> None:
    """Reduce gradients over ranks in the next backward passes, or let them add up locally."""
    if isinstance(network, FSDPModule):
        network.set_requires_gradient_sync(on)


def whole(tensor: Tensor) -> Tensor:
    """The unsharded tensor on every rank; a collective call when it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor; any other as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def sum_of_squares(tensors: Iterable[Tensor | None]) -> Tensor:
    """Of this rank's parts; None counts as 0. Does not wait for the device."""
    norms = torch._foreach_norm([local(one) for one in tensors if one is not None])
    return torch.stack(norms).double().square().sum()


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors that hold an infinity or NaN on any rank. Collective."""
    names = sorted(tensors)
    flags = torch.stack([(~torch.isfinite(local(tensors[name]))).any() for name in names])
    broken = sum_over_ranks(flags.double()).tolist()
    return [name for name, ranks in zip(names, broken, strict=True) if ranks]


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of every rank's tensor, on every rank."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def world() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def from_rank_zero(value: T | None) -> T:
    """Rank 0's value on every rank; the others pass None."""
    box = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(box, src=0)
    assert box[0] is not None
    return box[0]


def gathered(value: T) -> list[T]:
    """Every rank's value, on every rank, in rank order."""
    if not dist.is_initialized():
        return [value]
    values: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return [one for one in values if one is not None]
