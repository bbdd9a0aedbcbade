"""What a cluster has to train with. Loads no heavy library."""

from dataclasses import dataclass

from training.config.machines import Machines

_CPU_GIB = 64.0  # of a planned machine without GPUs
_CPUS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One machine."""

    cpus: int
    memory_gib: float
    """Memory of the machine that is there for Ray, GiB."""
    gpus: int = 0
    gpu: str = ""
    """Name of its GPUs, which are all alike."""
    gpu_gib: float = 0.0
    """Memory of one GPU, GiB."""
    bfloat16: bool = False
    """Its GPUs compute in bfloat16 (compute capability 8.0 or later)."""
    cpu_bfloat16: bool = False
    """So do its CPUs (AMX or AVX512-BF16)."""
    compiler: bool = True
    """A C++ compiler is there, which `torch.compile` needs."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machines of a cluster."""

    nodes: tuple[Node, ...]

    @property
    def gpus(self) -> int:
        """GPUs of all machines."""
        return sum(one.gpus for one in self.nodes)

    @property
    def with_gpus(self) -> tuple[Node, ...]:
        """Machines that have GPUs."""
        return tuple(one for one in self.nodes if one.gpus)


def planned(machines: Machines) -> Hardware:
    """The machines that a plan is made for; each GPU like an H100 but for its memory."""
    node = Node(
        cpus=_CPUS,
        memory_gib=_CPU_GIB,
        gpus=machines.gpus_per_node,
        gpu=f"GPU of {machines.gpu_gib:g} GiB",
        gpu_gib=machines.gpu_gib,
        bfloat16=True,
    )
    return Hardware((node,) * machines.nodes)
