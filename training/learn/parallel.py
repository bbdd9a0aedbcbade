"""Sharding of plain networks over processes: applied from outside, in one place.

The networks know nothing of it. Without a process group everything here is the identity, so that
the same code runs in one process.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from training.model.discriminator import Discriminator
from training.model.generator import Generator

T = TypeVar("T")
Precision = Literal["auto", "float32", "tf32", "bfloat16"]
Sharding = Literal["fsdp", "hsdp", "ddp"]


def set_precision(precision: Precision) -> torch.dtype | None:
    """Set the float32 precision of this process; returns the type `Adversary` autocasts to.

    "float32" is exact also on a GPU, where torch would round in convolutions by default; "tf32"
    rounds in all products there and is float32 on a CPU; so is "auto" before it is filled.
    """
    if precision == "auto":
        precision = "float32"
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    return torch.bfloat16 if precision == "bfloat16" else None


def compile_blocks(generator: Generator) -> None:
    """Compile the parts of the generator, each on its own, before it is sharded.

    Shapes of training never change, so one shape is compiled; names of weights stay. The decoder is
    left out: what is compiled of the gradient of its upsampling adds up pixel by pixel, and is
    slower than torch's own (H100, a whole step: 260 ms against 243). The discriminator has nothing
    between its convolutions to fuse, and each layer, learning and frozen, would be compiled apart.
    """
    for part in (generator.encoder, *generator.transformer):
        part.compile(dynamic=False)


def shard(
    generator: Generator,
    discriminator: Discriminator,
    device: torch.device,
    sharding: Sharding = "fsdp",
    node_ranks: int = 0,
) -> None:
    """Spread both networks over all ranks with FSDP2: one group for each block, one for the rest.

    All ranks must hold the same values before. Gradients are *summed* over ranks: the losses are
    already shares of the global batch. A single rank holds plain tensors.

    Args:
        generator: on the device.
        discriminator: on the device.
        device: of this rank.
        sharding: "fsdp" shards over all ranks, "hsdp" over those of a node with a copy on each
            node, "ddp" gives each rank a copy.
        node_ranks: ranks of this node, for "hsdp"; ranks of a node follow each other.
    """
    if world() == 1:
        return
    mesh = _mesh(device, sharding, node_ranks)
    again = sharding != "ddp"  # a copy is whole already
    # Nobody writes into what a network returns.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for block in (*generator.transformer, generator, *discriminator.spectral_layers()):
        fully_shard(block, mesh=mesh, reshard_after_forward=again)
    fully_shard(discriminator, mesh=mesh, reshard_after_forward=again)
    for module in (*generator.modules(), *discriminator.modules()):
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)  # gloo has no scaled sums


def shards(world: int, sharding: Sharding, *node_ranks: int) -> int:
    """Ranks that share one copy of the networks.

    Args:
        world: ranks.
        sharding: see `shard`.
        node_ranks: ranks of each node, of equal nodes once; read for "hsdp".
    """
    if sharding == "fsdp":
        return world
    # Nodes may have unequal numbers of ranks; what divides them all never reaches across two.
    return 1 if sharding == "ddp" else math.gcd(*node_ranks)


def uneven_nodes(sharding: Sharding, node_ranks: Sequence[int]) -> str:
    """A remark where unequal nodes change "hsdp"; "" where each node shares one copy.

    Args:
        sharding: see `shard`.
        node_ranks: ranks of each rank's node.
    """
    each = shards(len(node_ranks), sharding, *node_ranks)
    if sharding != "hsdp" or set(node_ranks) == {each}:
        return ""
    counts = " and ".join(map(str, sorted(set(node_ranks))))
    so = f"shares a copy of the networks among {each}" if each > 1 else "is --sharding ddp here"
    return (
        f"--sharding hsdp {so}: nodes have {counts} workers, and no more divide them all; give "
        "--workers so that nodes have as many each, or --sharding fsdp for less memory a worker"
    )


def _mesh(device: torch.device, sharding: Sharding, node_ranks: int) -> DeviceMesh:
    """Ranks as (copies, shards of a copy), or a row of shards alone. Collective."""
    each = shards(world(), sharding, *gathered(node_ranks))
    if each == world():
        return init_device_mesh(device.type, (each,))
    return init_device_mesh(
        device.type, (world() // each, each), mesh_dim_names=("copies", "shards")
    )


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
    """Sum of squares of this rank's parts; None counts as 0. Does not wait for the device."""
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


def rank() -> int:
    """Rank of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def from_rank_zero(value: T | None) -> T:
    """Rank 0's value on every rank; the others pass None."""
    box = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(box, src=0)
    assert box[0] is not None
    return box[0]


def second_group() -> dist.ProcessGroup | None:
    """All ranks once more, over gloo: for collective calls in a thread beside training.

    Collective; None in one process.
    """
    return dist.new_group(backend="gloo") if dist.is_initialized() else None


def gathered(value: T, group: dist.ProcessGroup | None = None) -> list[T]:
    """Every rank's value, on every rank, in rank order; group: None = the default one."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group)
    return values
