"""What one Ray worker does: find its place, take up the run where it stands, learn to the end."""

from typing import Any

import ray.train
import ray.train.torch
import torch

from data_pipeline import lake
from data_pipeline.clips import clip_order
from data_pipeline.door import say
from data_pipeline.reader import DataSet
from training import checkpoint, parallel
from training.config_json import config_digest, from_json, to_json
from training.loader import Loader
from training.networks import build_adversary
from training.saver import Saver
from training.telemetry import Telemetry
from training.trainer import train

SPLIT = "train"


def work(job: dict[str, Any]) -> None:
    """Run by Ray Train on every worker, again after every failure.

    Args:
        job: `config` (JSON form), `run_id` (MLflow), `commit`, `board` (a `telemetry.Board`).
    """
    config = from_json(job["config"])
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
    data_set = DataSet.open(config.data)
    adversary = build_adversary(config, device, context.get_local_world_size())
    clips = _resume(run_uri, adversary.tensors(), rank)
    adversary.set_iterations(clips // config.batch_clips)
    telemetry = None
    if rank == 0:
        telemetry = Telemetry(config.tracking_uri, job["run_id"], job["board"], clips)
    order = clip_order(data_set, SPLIT, config.seed, config.clip_frames, config.window_shards)
    keep = {"newest": config.keep_checkpoints, "every": config.keep_every_clips}
    with (
        Saver(run_uri, **keep, leader=rank == 0) as saver,
        Loader(
            data_set,
            SPLIT,
            order,
            batch_clips=config.batch_clips,
            rank=rank,
            world=world,
            position=clips,
            prefetch_clips=config.prefetch_clips,
        ) as batches,
    ):
        train(
            config,
            adversary,
            iter(batches),
            clips=clips,
            saver=saver,
            leaving=_leaving,
            state={
                "config": to_json(config),
                "config_digest": config_digest(config),
                "data_digest": data_set.digest,
                "run_id": job["run_id"],
                "commit": job["commit"],
                "world": world,
            },
            data_set=data_set,
            device=device,
            telemetry=telemetry,
        )


def _leaving() -> frozenset[str]:
    """Nodes of this group that were told to go (a drain, a reclaimed machine). Collective."""
    info = ray.train.get_preemption_info()
    return frozenset(info.preempted_node_ids) if info else frozenset()


def _resume(run_uri: str, tensors: dict[str, torch.Tensor], rank: int) -> int:
    """Load the newest good checkpoint into `tensors`, if there is one; returns its clips."""
    found = None
    if rank == 0:
        newest, passed_over = checkpoint.newest(run_uri)
        for line in passed_over:
            say(f"checkpoint passed over: {line}")
        found = newest.uri if newest else ""
    uri = parallel.from_rank_zero(found)
    if not uri:
        return 0
    chosen = checkpoint.opened(uri)
    chosen.load(tensors)
    return chosen.clips
