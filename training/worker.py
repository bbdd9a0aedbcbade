"""What one Ray worker does: find its place, take up the run where it stands, learn to the end."""

import os
import platform
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import ray.train
import ray.train.torch
import torch

from data_pipeline import lake
from data_pipeline.clips import clip_order
from data_pipeline.door import UserError
from data_pipeline.lease import Claim
from data_pipeline.reader import DataSet
from mlops import names
from training import checkpoint, parallel, record
from training.adversary import Adversary
from training.checkpoint import Checkpoint, NotWritten
from training.config import TrainConfig
from training.config_json import config_digest, from_json, to_json
from training.flops import matmul_flops, training_flops
from training.footprint import refuse_too_large
from training.loader import Loader
from training.networks import build_adversary
from training.node_metrics import NodeMetrics
from training.preemption import Preemption
from training.saver import Saver
from training.start import Weights, weights_of
from training.telemetry import Pace, Telemetry
from training.trainer import train
from training.validation import Validation
from training.watch import Watch

SPLIT = "train"
_TELL_S = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """What the driver tells every worker."""

    config: dict[str, Any]
    """In its JSON form."""
    run_id: str
    """Of MLflow."""
    commit: str
    """Of the code."""
    claim: Claim
    """Of the driver on the run."""
    init: str | None = None
    """Pinned URI of the weights to begin with."""
    board: Any = None
    """Handle of a `board.Board`."""

    def tell(self, lines: str) -> None:
        """Bring lines to a person, and to where Ray keeps logs."""
        sys.stderr.write(f"{lines}\n")
        ray.get(self.board.tell.remote(lines), timeout=_TELL_S)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker stands."""

    rank: int
    world: int
    node: str
    """Ray's id of its node."""
    neighbours: Mapping[int, int]
    """Rank -> process id of all workers on its node, itself among them."""
    device: torch.device


def work(told: dict[str, Any]) -> None:
    """Run by Ray Train on every worker, again after every failure.

    Args:
        told: `{"job": Job}`.
    """
    job: Job = told["job"]
    config = from_json(job.config)
    torch.set_num_threads(config.worker_threads)
    place = _place()
    with Watch(config.hang_after_s, place.rank, place.neighbours, job.tell) as watch:
        try:
            _train(job, config, place, watch)
        except (FloatingPointError, NotWritten) as error:  # on all ranks
            _end(job, str(error), mistake=False)


def _place() -> Place:
    """Collective."""
    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    node = ray.get_runtime_context().get_node_id()
    rank = parallel.rank()
    ranks = parallel.gathered((node, rank, os.getpid()))
    neighbours = {other: process for there, other, process in ranks if there == node}
    return Place(rank, parallel.world(), node, neighbours, device)


def _train(job: Job, config: TrainConfig, place: Place, watch: Watch) -> None:
    """Take up the run where it stands and go on to its end. Collective."""
    rank, world, device = place.rank, place.world, place.device
    tracking_uri = str(config.tracking_uri)
    run_uri = lake.join(str(config.storage), config.name)
    if _refused(job, lambda: _refuse_unshared(run_uri)):
        return
    data_set = DataSet.open(str(config.data))
    taken_up = _take_up(job, config, place, run_uri, (data_set.height, data_set.width))
    if taken_up is None:
        return
    adversary, clips = taken_up
    order = clip_order(data_set, SPLIT, config.seed, config.clip_frames, config.window_shards)
    keep = {"newest": config.keep_checkpoints, "every": config.keep_every_clips}
    with ExitStack() as stack:
        telemetry = None
        if rank == 0:
            pace = _pace(adversary, config, data_set, device, world)
            to = tracking_uri, job.run_id, config.name, job.board
            telemetry = Telemetry(*to, clips, pace, config.profile_iterations)
            stack.enter_context(telemetry)
            telemetry.tags({names.HARDWARE: _hardware(config, device, world)})
        if rank == min(place.neighbours):
            gpu = device.type == "cuda"
            stack.enter_context(NodeMetrics(tracking_uri, job.run_id, place.node, watch, gpu=gpu))
        saver = stack.enter_context(
            Saver(run_uri, **keep, leader=rank == 0, claim=job.claim, tell=job.tell)
        )
        batches = Loader(
            data_set,
            SPLIT,
            order,
            batch_clips=config.batch_clips,
            rank=rank,
            world=world,
            position=clips,
            prefetch_clips=config.prefetch_clips,
        )
        ours = iter(stack.enter_context(batches))
        train(
            config,
            adversary,
            ours if telemetry is None else telemetry.profiled(ours),
            clips=clips,
            saver=saver,
            preemption=Preemption(),
            watch=watch,
            state={
                "config": to_json(config),
                "config_digest": config_digest(config),
                "data_digest": data_set.digest,
                "run_id": job.run_id,
                "commit": job.commit,
                "world": world,
            },
            validation=Validation(data_set, SPLIT, config, device),
            device=device,
            telemetry=telemetry,
        )


def _take_up(
    job: Job, config: TrainConfig, place: Place, run_uri: str, size: tuple[int, int]
) -> tuple[Adversary, int] | None:
    """What learns, as it was after so many clips; None when the run cannot be. Collective."""
    chosen = _newest(job, run_uri, place.rank)
    weights: Weights = {}

    def fetch() -> None:
        if chosen is None and job.init is not None:
            weights.update(weights_of(job.init, str(config.tracking_uri)))

    if _refused(job, fetch):
        return None
    here = len(place.neighbours)
    adversary = build_adversary(config, place.device, here, weights)
    networks = adversary.generator, adversary.discriminator
    if _refused(job, lambda: refuse_too_large(*networks, config, size, place.device, here)):
        return None
    if chosen is not None:
        chosen.load(adversary.tensors())
    clips = chosen.clips if chosen is not None else 0
    adversary.set_iterations(clips // config.batch_clips)
    return adversary, clips


def _pace(
    adversary: Adversary, config: TrainConfig, data_set: DataSet, device: torch.device, world: int
) -> Pace:
    size = config.clip_frames, data_set.height, data_set.width
    flops = training_flops(adversary.generator, adversary.discriminator, *size)
    peak = matmul_flops(device, torch.bfloat16) if device.type == "cuda" else 0.0
    return Pace(flops, world, peak)


def _hardware(config: TrainConfig, device: torch.device, world: int) -> str:
    """In words, for MLflow: what an equal result needs to be equal."""
    if device.type == "cuda":
        return f"{world} x {torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    kind = torch.backends.cpu.get_cpu_capability()
    threads = f"{config.worker_threads} threads"
    return f"{world} x CPU ({platform.machine()}, {kind}, {threads}), torch {torch.__version__}"


def _refused(job: Job, check: Callable[[], None]) -> bool:
    """What one node finds wrong ends all workers, and the driver says it: trying again is no use.

    Collective.
    """
    problem = None
    try:
        check()
    except UserError as error:
        problem = str(error)
    problems = parallel.gathered(problem)
    if problems:
        _end(job, str(problems[0]), mistake=True)
    return bool(problems)


def _end(job: Job, why: str, *, mistake: bool) -> None:
    if parallel.rank() == 0:
        ray.get(job.board.end.remote(why, mistake))


def _refuse_unshared(run_uri: str) -> None:
    """The driver wrote the record of the run before; every node must see it.

    Raises:
        UserError: this one does not.
    """
    if record.read(run_uri) is None:
        raise UserError(
            f"storage {run_uri} is not shared: node {socket.gethostname()} does not see "
            f"{record.FILE} there; give a folder that all nodes have in common, or s3://"
        )


def _newest(job: Job, run_uri: str, rank: int) -> Checkpoint | None:
    """The newest good checkpoint, the same one on all ranks; None = begin. Collective."""
    uri = None
    if rank == 0:
        found, passed_over = checkpoint.newest(run_uri)
        for line in passed_over:
            job.tell(f"checkpoint passed over: {line}")
        uri = found.uri if found else ""
    uri = parallel.from_rank_zero(uri)
    return checkpoint.opened(uri) if uri else None
