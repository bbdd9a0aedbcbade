"""Fills what a config leaves to the hardware: pure, and each choice has its reason."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from training.config.train_config import TrainConfig
from training.learn import parallel
from training.learn.networks import build_discriminator, build_generator
from training.model.discriminator import Discriminator
from training.model.generator import Generator
from training.planning.footprint import footprint
from training.planning.hardware import Hardware

# Of a device's memory; the rest is for the allocator's gaps, libraries and what is read ahead.
_USABLE = 0.85


@dataclass(frozen=True, slots=True)
class Choice:
    """One field that was filled."""

    field: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.field} {self.value}: {self.reason}"


def resolved(
    config: TrainConfig, hardware: Hardware, size: tuple[int, int]
) -> tuple[TrainConfig, tuple[Choice, ...]]:
    """Fill device, workers, precision, micro-batch and compilation where they are left to this.

    What a user has given stays. One thing more: where not even one clip fits beside the networks,
    activation checkpointing is turned on.

    Args:
        config: the run.
        hardware: it will have.
        size: height and width of a frame, pixels.

    Returns:
        The config, nothing in it left open, and the choices that were made.
    """
    choices: list[Choice] = []
    for fill in (_device, _workers, _threads, _precision, _micro_batch, _compile):
        for choice in fill(config, hardware, size):
            choices.append(choice)
            config = replace(config, **cast(Any, {choice.field: choice.value}))
    return config, tuple(choices)


def _device(config: TrainConfig, hardware: Hardware, _: tuple[int, int]) -> Iterator[Choice]:
    if config.device != "auto":
        return
    kinds = sorted({one.gpu for one in hardware.with_gpus})
    if kinds:
        yield Choice("device", "cuda", f"there are {hardware.gpus} GPUs ({', '.join(kinds)})")
    else:
        yield Choice("device", "cpu", "there is no GPU")


def _workers(config: TrainConfig, hardware: Hardware, _: tuple[int, int]) -> Iterator[Choice]:
    if config.workers:
        return
    if config.device == "cuda":
        kind, there = "GPUs", hardware.gpus
    else:
        kind, there = "machines", len(hardware.nodes)
    there = max(1, config.min_workers, there)
    share = -(-config.batch_clips // min(there, config.batch_clips))
    workers = max(-(-config.batch_clips // share), config.min_workers)
    reason = f"{there} {kind}, a batch of {config.batch_clips} clips"
    if workers < min(there, config.batch_clips):
        reason += f"; more would take as long, for one would have {share} clips too"
    yield Choice("workers", workers, reason)


def _threads(config: TrainConfig, hardware: Hardware, _: tuple[int, int]) -> Iterator[Choice]:
    if config.worker_threads:
        return
    if config.device == "cuda":
        yield Choice("worker_threads", 1, "the GPU computes")
        return
    each = _workers_each(config, hardware)
    threads = max(1, min((one.cpus for one in hardware.nodes), default=1) // each)
    yield Choice("worker_threads", threads, f"the CPUs of a machine for {each} workers on it")


def _precision(config: TrainConfig, hardware: Hardware, _: tuple[int, int]) -> Iterator[Choice]:
    if config.precision != "auto":
        return
    if config.device == "cpu":
        if all(one.cpu_bfloat16 for one in hardware.nodes):
            yield Choice("precision", "bfloat16", "the CPUs have it")
        else:
            yield Choice("precision", "float32", "the CPUs have neither AMX nor AVX512-BF16")
    elif not hardware.gpus:
        yield Choice("precision", "float32", "no GPU is there yet to look at")
    elif all(one.bfloat16 for one in hardware.with_gpus):
        yield Choice("precision", "bfloat16", "all GPUs have it")
    else:
        without = sorted({one.gpu for one in hardware.with_gpus if not one.bfloat16})
        yield Choice("precision", "float32", f"no bfloat16 on {', '.join(without)}")


def _micro_batch(
    config: TrainConfig, hardware: Hardware, size: tuple[int, int]
) -> Iterator[Choice]:
    if config.micro_batch_clips:
        return
    share = -(-config.batch_clips // config.workers)
    free = _memory_gib(config, hardware) * _USABLE
    if not free:
        yield Choice("micro_batch_clips", 1, "the memory of the device is not known")
        return
    with torch.device("meta"):
        networks = build_generator(config.generator), build_discriminator(config.discriminator)
    # All at once first: the graph of the prediction is then kept. Else equal parts.
    parts = [-(-share // number) for number in range(1, share + 1)]
    for clips in dict.fromkeys(parts):
        needed = _needed_gib(networks, config, hardware, size, clips)
        if needed <= free:
            reason = f"of a worker's {share}; they need about {needed:.1f} of {free:.1f} GiB"
            yield Choice("micro_batch_clips", clips, reason)
            return
    yield Choice("micro_batch_clips", 1, f"one clip needs about {needed:.1f} of {free:.1f} GiB")
    if not config.activation_checkpointing:
        yield Choice("activation_checkpointing", True, "one clip does not fit without")


def _compile(config: TrainConfig, hardware: Hardware, _: tuple[int, int]) -> Iterator[Choice]:
    if config.compile != "auto":
        return
    if config.device == "cpu":
        yield Choice("compile", "off", "on a CPU it does not pay")
    elif all(one.compiler for one in hardware.with_gpus):
        yield Choice("compile", "on", "the device is a GPU")
    else:
        yield Choice("compile", "off", "there is no C++ compiler on each node with GPUs")


def _memory_gib(config: TrainConfig, hardware: Hardware) -> float:
    """Memory of one worker: of the smallest GPU, or its part of a machine, GiB; 0 = not known."""
    if config.device == "cuda":
        return min((one.gpu_gib for one in hardware.with_gpus), default=0.0)
    each = _workers_each(config, hardware)
    return min((one.memory_gib / each for one in hardware.nodes), default=0.0)


def _workers_each(config: TrainConfig, hardware: Hardware) -> int:
    """Workers on the fullest machine, without GPUs."""
    return -(-config.workers // max(1, len(hardware.nodes)))


def _needed_gib(
    networks: tuple[Generator, Discriminator],
    config: TrainConfig,
    hardware: Hardware,
    size: tuple[int, int],
    clips: int,
) -> float:
    """Memory of a worker that computes so many clips of its share at a time, GiB."""
    per_node = max((one.gpus for one in hardware.nodes), default=0) or config.workers
    found = footprint(
        *networks,
        replace(config, micro_batch_clips=clips),
        size,
        clips=-(-config.batch_clips // config.workers),
        world=config.workers,
        shards=parallel.shards(config.workers, config.sharding, min(per_node, config.workers)),
    )
    return found.total / 2**30
