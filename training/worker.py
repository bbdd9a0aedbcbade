"""What one Ray worker does: find its place, take up the run where it stands, learn to the end."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import ray.train
import ray.train.torch
import torch

from data_pipeline import lake
from data_pipeline.clips import clip_order
from data_pipeline.door import UserError, say
from data_pipeline.reader import DataSet
from training import checkpoint, parallel, record
from training.adversary import Adversary
from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.config_json import config_digest, from_json, to_json
from training.flops import matmul_flops, training_flops
from training.footprint import refuse_too_large
from training.loader import Loader
from training.networks import build_adversary
from training.saver import Saver
from training.start import weights_of
from training.telemetry import Pace, Telemetry
from training.trainer import train

SPLIT = "train"


@dataclass(frozen=True, slots=True)
class Job:
    """What the driver tells every worker."""

    config: dict[str, Any]
    """In its JSON form."""
    run_id: str
    """Of MLflow."""
    commit: str
    """Of the code."""
    init: str | None = None
    """Pinned URI of the weights to begin with."""
    board: Any = None
    """Handle of a `telemetry.Board`."""


def work(told: dict[str, Any]) -> None:
    """Run by Ray Train on every worker, again after every failure.

    Args:
        told: `{"job": Job}`.

    Raises:
        UserError: this node does not see the storage of the run.
    """
    job: Job = told["job"]
    config = from_json(job.config)
    torch.set_num_threads(config.worker_threads)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    assert config.data is not None
    assert config.storage is not None
    assert config.tracking_uri is not None
    run_uri = lake.join(config.storage, config.name)
    _refuse_unshared(run_uri)
    data_set = DataSet.open(config.data)
    chosen = _newest(run_uri, rank)
    weights = None
    if chosen is None and job.init is not None:
        weights = weights_of(job.init, config.tracking_uri)
    here = context.get_local_world_size()
    adversary = build_adversary(config, device, here, weights)
    refuse_too_large(adversary, config, (data_set.height, data_set.width), device, here)
    clips = 0
    if chosen is not None:
        chosen.load(adversary.tensors())
        clips = chosen.clips
    adversary.set_iterations(clips // config.batch_clips)
    order = clip_order(data_set, SPLIT, config.seed, config.clip_frames, config.window_shards)
    keep = {"newest": config.keep_checkpoints, "every": config.keep_every_clips}
    with ExitStack() as stack:
        telemetry = None
        if rank == 0:
            pace = _pace(adversary, config, data_set, device, world)
            telemetry = stack.enter_context(
                Telemetry(config.tracking_uri, job.run_id, job.board, clips, pace)
            )
        saver = stack.enter_context(Saver(run_uri, **keep, leader=rank == 0))
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
        train(
            config,
            adversary,
            iter(stack.enter_context(batches)),
            clips=clips,
            saver=saver,
            leaving=_leaving,
            state={
                "config": to_json(config),
                "config_digest": config_digest(config),
                "data_digest": data_set.digest,
                "run_id": job.run_id,
                "commit": job.commit,
                "world": world,
            },
            data_set=data_set,
            device=device,
            telemetry=telemetry,
        )


def _pace(
    adversary: Adversary, config: TrainConfig, data_set: DataSet, device: torch.device, world: int
) -> Pace:
    size = config.clip_frames, data_set.height, data_set.width
    flops = training_flops(adversary.generator, adversary.discriminator, *size)
    peak = matmul_flops(device, torch.bfloat16) if device.type == "cuda" else 0.0
    return Pace(flops, world, peak)


def _leaving() -> frozenset[str]:
    """Nodes of this group that were told to go (a drain, a reclaimed machine). Collective."""
    info = ray.train.get_preemption_info()
    return frozenset(info.preempted_node_ids) if info else frozenset()


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


def _newest(run_uri: str, rank: int) -> Checkpoint | None:
    """The newest good checkpoint, the same one on all ranks; None = begin. Collective."""
    uri = None
    if rank == 0:
        found, passed_over = checkpoint.newest(run_uri)
        for line in passed_over:
            say(f"checkpoint passed over: {line}")
        uri = found.uri if found else ""
    uri = parallel.from_rank_zero(uri)
    return checkpoint.opened(uri) if uri else None
