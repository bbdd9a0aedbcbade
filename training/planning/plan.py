"""Needs of a run on machines that are not here: memory, bytes on the wire, a bound on time.

Memory and bytes follow from the networks and are checked against real processes by a test; the
time follows from figures of devices that are stated, and is a bound, not a measurement.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from data_pipeline.cli.command import UserError
from training.config.machines import Machines
from training.config.train_config import TrainConfig
from training.learn import parallel
from training.learn.networks import build_discriminator, build_generator
from training.model.discriminator import Discriminator
from training.model.generator import Generator, check_size
from training.planning.auto import Choice, resolved
from training.planning.flops import block_flops, generator_flops, training_flops
from training.planning.footprint import Footprint, footprint, part_bytes
from training.planning.hardware import planned

_POWER_ITERATIONS = 3  # in an iteration
_COUNTS_BYTES = 3 * 8  # of the losses: float64


@dataclass(frozen=True, slots=True)
class Collective:
    """One kind of exchange between ranks, in one iteration."""

    kind: str
    """"all-gather", "reduce-scatter" or "all-reduce"."""
    what: str
    times: int
    """Calls."""
    payload: int
    """Bytes of the whole tensors, padded rows included, over all calls."""
    ranks: int
    """Ranks that take part in one."""
    spacing: int
    """Ranks from one that takes part to the next."""

    @property
    def sent(self) -> int:
        """Bytes that each rank puts on the wire, in rings."""
        factor = 2 if self.kind == "all-reduce" else 1
        return factor * self.payload * (self.ranks - 1) // self.ranks


@dataclass(frozen=True, slots=True)
class Plan:
    """A run on machines."""

    choices: tuple[Choice, ...]
    """What the config left to the machines."""
    precision: str
    workers: int
    shards: int
    """Workers that share a copy of the networks."""
    clips: int
    """Clips of the largest share of a worker."""
    at_once: int
    """Clips of the share computed at a time."""
    memory: Footprint
    collectives: tuple[Collective, ...]
    flops: float
    """FLOPs of an iteration on one worker, all that is computed."""
    model_flops: float
    """FLOPs that count for utilisation."""
    compute_s: float
    exchange_s: float
    alone_s: float
    """Seconds of the same iteration on one GPU, computing alone."""

    @property
    def step_s(self) -> tuple[float, float]:
        """Seconds of an iteration, if exchanges hide behind computing, and if none does."""
        return max(self.compute_s, self.exchange_s), self.compute_s + self.exchange_s

    @property
    def efficiency(self) -> tuple[float, float]:
        """Speed over that of as many GPUs that need no exchange and have equal shares."""
        best, worst = (self.alone_s / self.workers / seconds for seconds in self.step_s)
        return best, worst


def plan(config: TrainConfig, machines: Machines) -> Plan:
    """Plan a run.

    Args:
        config: the run; it has no more workers than the machines have GPUs, and what it leaves to
            the hardware is filled by them.
        machines: they are all alike.

    Raises:
        UserError: a frame that does not fit.
    """
    height, width = machines.frame_height, machines.frame_width
    shape = config.generator
    try:
        check_size(height, width, shape.grids, shape.patch_sizes)
    except ValueError as error:
        raise UserError(f"--frame-width {width}, --frame-height {height}: {error}") from error
    if config.workers:
        workers = min(config.workers, machines.workers)
        config = dataclasses.replace(config, workers=workers, min_workers=0)
    config = dataclasses.replace(config, device="cuda")
    config, choices = resolved(config, planned(machines), (height, width))
    world = config.workers
    with torch.device("meta"):
        generator = build_generator(shape)
        discriminator = build_discriminator(config.discriminator)
    shards = parallel.shards(world, config.sharding, machines.gpus_per_node)
    clips = -(-config.batch_clips // world)
    micro_batches = -(-clips // config.micro_batch_clips)
    size = config.clip_frames, height, width
    trained = discriminator if config.loss.adversarial else None
    per_clip = training_flops(generator, trained, *size)
    again = _computed_again(generator, config, micro_batches, size)
    exchanges = tuple(collectives(generator, trained, world, shards, micro_batches))
    reached = machines.peak(config.precision) * machines.reached(config.precision)
    return Plan(
        choices=choices,
        precision=config.precision,
        workers=world,
        shards=shards,
        clips=clips,
        at_once=min(clips, config.micro_batch_clips),
        memory=footprint(
            generator,
            discriminator,
            config,
            (height, width),
            clips=clips,
            world=world,
            shards=shards,
        ),
        collectives=exchanges,
        flops=clips * (per_clip + again),
        model_flops=clips * per_clip,
        compute_s=clips * (per_clip + again) / reached,
        exchange_s=sum(_seconds(one, machines) for one in exchanges),
        alone_s=config.batch_clips * (per_clip + again) / reached,
    )


def collectives(
    generator: Generator,
    discriminator: Discriminator | None,
    world: int,
    shards: int,
    micro_batches: int,
) -> Iterator[Collective]:
    """Exchanges between ranks in one iteration, as `Adversary` and `parallel.shard` make them.

    Weights are gathered for every pass forward and back; a single micro-batch keeps the graph of
    its prediction, several are predicted again in the generator's turn. Gradients are shared out
    once a turn.
    """
    copies = world // shards
    parts: dict[str, list[list[nn.Parameter]]] = {
        "generator": _groups(generator, generator.transformer)
    }
    spectral = discriminator.spectral_layers() if discriminator else []
    if discriminator:
        parts["discriminator"] = _groups(discriminator, spectral)
    passes = {
        "generator": 2 if micro_batches == 1 else 3 * micro_batches,
        "discriminator": 3 * 2 * micro_batches,
    }
    if shards > 1:
        for name, groups in parts.items():
            whole = shards * _part(groups, shards)
            times = len(groups)
            yield Collective(
                "all-gather", f"weights of the {name}", passes[name] * times,
                passes[name] * whole, shards, 1,
            )  # fmt: skip
            yield Collective("reduce-scatter", f"gradients of the {name}", times, whole, shards, 1)
    if shards > 1 and discriminator:
        norms = _POWER_ITERATIONS * shards * _part([[one.weight for one in spectral]], shards)
        times = _POWER_ITERATIONS * len(spectral)
        yield Collective("all-gather", "weights for power iterations", times, norms, shards, 1)
    if copies > 1:
        for name, groups in parts.items():
            what = f"gradients of the {name} among copies"
            part = _part(groups, shards)
            yield Collective("all-reduce", what, len(groups), part, copies, shards)
    if world > 1:
        yield Collective("all-reduce", "counts of the losses", 1, _COUNTS_BYTES, world, 1)


def as_json(found: Plan, machines: Machines) -> dict[str, Any]:
    """The whole plan as JSON values."""
    best, worst = found.step_s
    exchanges = [{**asdict(one), "sent": one.sent} for one in found.collectives]
    return {
        **asdict(found),
        "collectives": exchanges,
        "memory": {**asdict(found.memory), "total": found.memory.total},
        "step_s": [best, worst],
        "efficiency": list(found.efficiency),
        "assumed": asdict(machines),
    }


def in_words(config: TrainConfig, machines: Machines, found: Plan) -> str:
    """The whole plan as a person reads it; every assumption is in it."""
    return "\n".join(
        [
            f"PLANNED, not measured: {config.name}, {config.batch_clips} clips a step on "
            f"{machines.nodes} x {machines.gpus_per_node} GPUs, {config.sharding}, "
            f"{found.precision}",
            *map(str, found.choices),
            f"a GPU: {found.clips} clips a step, {found.at_once} at a time, {config.clip_frames} "
            f"frames of {machines.frame_width}x{machines.frame_height} each; networks shared "
            f"by {found.shards}",
            "",
            f"memory of a GPU ({machines.gpu_gib:g} GiB)",
            *_memory_lines(found.memory, machines),
            "",
            "sent by a GPU in a step",
            *_wire_lines(found, machines),
            "",
            *_time_lines(config, machines, found),
        ]
    )


def _memory_lines(memory: Footprint, machines: Machines) -> Iterator[str]:
    for name, size in asdict(memory).items():
        yield f"  {name.replace('_', ' '):42} {size / 2**30:9.3f} GiB"
    total = memory.total / 2**30
    room = "fits" if total <= machines.gpu_gib else "DOES NOT FIT"
    yield f"  {'together':42} {total:9.3f} GiB, {room}"


def _wire_lines(found: Plan, machines: Machines) -> Iterator[str]:
    for one in found.collectives:
        name = f"{one.kind}, {one.what}"
        yield (
            f"  {name:56} {one.times:4} x, {one.sent / 1e6:10.3f} MB over {one.ranks} ranks, "
            f"{_medium(one, machines)}: {1e3 * _seconds(one, machines):.2f} ms"
        )
    yield f"  together {sum(one.sent for one in found.collectives) / 1e6:.3f} MB"


def _time_lines(config: TrainConfig, machines: Machines, found: Plan) -> Iterator[str]:
    peak, reached = machines.peak(found.precision), machines.reached(found.precision)
    source = "measured on one H100" if machines.measured else "assumed"
    fast, slow = found.step_s
    best, worst = found.efficiency
    frames = config.batch_clips / fast * config.clip_frames / machines.nodes
    even = config.batch_clips / (found.workers * found.clips)
    yield (
        f"computing: {found.flops / 1e12:.2f} TFLOP of a GPU in a step "
        f"({found.model_flops / 1e12:.2f} of the model, the rest is computed again) at "
        f"{reached:.0%} ({source}) of {peak / 1e12:g} TFLOP/s (stated): "
        f"{1e3 * found.compute_s:.1f} ms"
    )
    yield (
        f"exchanging: {1e3 * found.exchange_s:.1f} ms at {machines.link_gb_per_s:g} GB/s in a "
        f"node, {machines.network_gb_per_s:g} GB/s a GPU between nodes (stated), "
        f"{machines.latency_us:g} us a call (assumed); rings"
    )
    yield (
        f"a step: {1e3 * fast:.1f} ms if all exchanges hide behind computing, {1e3 * slow:.1f} ms "
        f"if none does: {config.batch_clips / slow:.2f} to {config.batch_clips / fast:.2f} clips/s"
    )
    yield (
        f"efficiency: {worst:.0%} to {best:.0%} of {found.workers} GPUs that exchange nothing; "
        f"{even:.0%} is what uneven shares leave"
    )
    yield f"data: up to {frames:.0f} frames a second to read and decode on each node"


def _computed_again(
    generator: Generator, config: TrainConfig, micro_batches: int, size: tuple[int, int, int]
) -> float:
    """FLOPs of a clip beyond those of the model: predictions and blocks that are made twice."""
    predicted = generator_flops(generator, *size) if micro_batches > 1 else 0
    blocks = block_flops(generator, *size) * len(generator.transformer)
    return predicted + config.activation_checkpointing * blocks


def _groups(network: nn.Module, inner: Any) -> list[list[nn.Parameter]]:
    """Parameters that are gathered together: each inner module's, and all others."""
    groups = [list(module.parameters()) for module in inner]
    known = {id(one) for group in groups for one in group}
    return [*groups, [one for one in network.parameters() if id(one) not in known]]


def _part(groups: list[list[nn.Parameter]], shards: int) -> int:
    """Bytes of one shard; all are padded to the largest."""
    return sum(part_bytes(one, shards) for group in groups for one in group)


def _medium(one: Collective, machines: Machines) -> str:
    """Ranks of a node follow each other."""
    inside = (one.ranks - 1) * one.spacing < machines.gpus_per_node
    return "link" if inside or machines.nodes == 1 else "network"


def _seconds(one: Collective, machines: Machines) -> float:
    speeds = {"link": machines.link_gb_per_s, "network": machines.network_gb_per_s}
    speed = 1e9 * speeds[_medium(one, machines)]
    return one.sent / speed + one.times * machines.latency_us / 1e6
