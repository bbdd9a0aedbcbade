"""The hardware that a run will have: of the cluster that RAY_ADDRESS names, or of this machine."""

import os
import shutil
from pathlib import Path
from typing import Any

import ray
import torch

from data_pipeline.cli import ray_cluster
from data_pipeline.cli.ray_session import NODE_ID, ray_session
from training.model.memory import free_bytes
from training.planning.hardware import Hardware, Node

try:
    import pynvml  # type: ignore[import-untyped]
except ImportError:  # only where there may be NVIDIA's GPUs
    pynvml = None

_COMPILERS = ("c++", "g++", "clang++")
_BFLOAT16_SINCE = (8, 0)  # compute capability
_UNKNOWN = "GPU of a kind that NVML does not know", 0.0, (0, 0)
_CPU_BFLOAT16 = {"amx_bf16", "avx512_bf16"}  # flags of Linux


def seen() -> Hardware:
    """Look at each machine of the cluster, or at this one where none is named.

    Raises:
        Unusable: the cluster that is named cannot be used.
        RayLost: it failed meanwhile.
    """
    if not ray.is_initialized() and not ray_cluster.is_named(os.environ):
        return Hardware((_this_machine(torch.cuda.device_count()),))
    with ray_session(1):
        looked: Any = ray.remote(num_cpus=0)(_this_machine)
        found: Any = ray.nodes()  # type: ignore[no-untyped-call]
        nodes = [one for one in found if one["Alive"] and one["Resources"].get("CPU")]
        looks = [
            looked.options(label_selector={NODE_ID: one["NodeID"]}).remote(
                int(one["Resources"].get("GPU", 0)),
                int(one["Resources"]["CPU"]),
                one["Resources"].get("memory", 0) / 2**30,
            )
            for one in nodes
        ]
        return Hardware(tuple(ray.get(looks)))


def _this_machine(gpus: int, cpus: int = 0, memory_gib: float = 0.0) -> Node:
    """This machine, with as many GPUs, CPUs and as much memory as Ray has of it; 0 = all."""
    name, gib, capability = _gpu() if gpus else ("", 0.0, (0, 0))
    return Node(
        cpus=cpus or os.cpu_count() or 1,
        memory_gib=memory_gib or (free_bytes(torch.device("cpu")) or 0) / 2**30,
        gpus=gpus,
        gpu=name,
        gpu_gib=gib,
        bfloat16=capability >= _BFLOAT16_SINCE,
        cpu_bfloat16=_cpu_bfloat16(),
        compiler=any(map(shutil.which, _COMPILERS)),
    )


def _cpu_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return not _CPU_BFLOAT16.isdisjoint(flags)


def _gpu() -> tuple[str, float, tuple[int, int]]:
    """Name, memory in GiB and compute capability of the smallest GPU of this machine.

    By NVML, which sees them also in a task to which Ray has given none. What it does not see, such
    as another maker's GPUs, is not known: 0 GiB.
    """
    if pynvml is None:
        return _UNKNOWN
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(count)]
        memory = [pynvml.nvmlDeviceGetMemoryInfo(one).total for one in handles]
        smallest = handles[memory.index(min(memory))]
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(smallest)
        return str(pynvml.nvmlDeviceGetName(smallest)), min(memory) / 2**30, (major, minor)
    except (pynvml.NVMLError, ValueError):
        return _UNKNOWN
