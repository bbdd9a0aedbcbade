"""A training iteration of two processes: sharded against copies, and the share of data loading.

python tests/benchmarks/processes.py [--json] [--rounds 3] [--frames 5] [--fill propagate]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing
from torch.optim import Adam
from torch.optim.optimizer import register_optimizer_step_pre_hook

sys.path.insert(0, str(Path(__file__).parents[2]))  # `tests` is no installed package

from data_pipeline.read.clips import clip_order
from data_pipeline.read.reader import DataSet
from tests.benchmarks.figures import Figure, show
from tests.tiny import shard_tiny, write_videos
from training.config.train_config import GeneratorConfig, TrainConfig, references_of
from training.learn.adversary import Adversary
from training.learn.filling import reading
from training.learn.loader import Loader
from training.learn.networks import build_adversary

WORLD = 2
HEIGHT, WIDTH = 240, 432
_COPIES = "copies, one all-reduce"
_WAYS = ("fsdp", "ddp", _COPIES)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=5, help="of a clip")
    parser.add_argument("--fill", choices=("none", "diffuse", "propagate"), default="none")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wanted = figures(Path(folder), arguments.frames, arguments.rounds, arguments.fill)
        show(wanted, json_lines=arguments.json)


def figures(folder: Path, frames: int, rounds: int, fill: Any) -> Iterator[Figure]:
    """The paper's networks, one clip a process, the ways in turns."""
    videos = write_videos(folder, [12 + frames] * 3)
    data = folder / "data"
    shard_tiny(data, videos, width=WIDTH, height=HEIGHT)
    shape = GeneratorConfig(fill=fill)
    config = TrainConfig(
        data=str(data), batch_clips=WORLD, workers=WORLD, clip_frames=frames, generator=shape
    )
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    results = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(_rank, (store.port, config, rounds, results), nprocs=WORLD)
    seconds, waited = results.get()
    took = {way: statistics.median(values) for way, values in seconds.items()}
    for way in _WAYS[1:]:
        ratios = [a / b for a, b in zip(seconds["fsdp"], seconds[way], strict=True)]
        yield Figure(
            f"training step of {WORLD} processes, FSDP", took["fsdp"], "s",
            f"{way}: {took[way]:.3g} s", statistics.median(ratios),
        )  # fmt: skip
    yield Figure(
        "waiting for data, share of a step", waited, "of a step", "0.02 of a step", waited / 0.02
    )


def _rank(rank: int, port: int, config: TrainConfig, rounds: int, results: Any) -> None:
    torch.set_num_threads(1)
    whole = build_adversary(config, torch.device("cpu"))  # no group yet: not spread
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD)
    data_set = DataSet.open(str(config.data))
    how = config.clip_frames, config.window_shards, references_of(config)
    order = clip_order(data_set, "train", config.seed, *how)
    with Loader(
        data_set, "train", order, batch_clips=WORLD, rank=rank, world=WORLD, position=0,
        prefetch_clips=config.prefetch_clips, read=reading(config),
    ) as batches:  # fmt: skip
        found = _timed(config, whole, iter(batches), rounds)
    if rank == 0:
        results.put(found)
    dist.destroy_process_group()


def _timed(
    config: TrainConfig, whole: Adversary, batches: Iterator[Any], rounds: int
) -> tuple[dict[str, list[float]], float]:
    """Seconds of each way, round by round; the share of all that waited for data."""
    cpu = torch.device("cpu")
    spread = {way: build_adversary(replace(config, sharding=way), cpu) for way in _WAYS[:2]}
    steps: dict[str, Callable[[Any], object]] = {
        way: lambda batch, one=one: one.learn(batch, 0) for way, one in spread.items()
    }
    steps[_COPIES] = _copies(whole)
    seconds: dict[str, list[float]] = {way: [] for way in _WAYS}
    waited: list[float] = []
    for number in range(rounds + 1):
        for way, step in steps.items():
            requested = time.perf_counter()
            batch = next(batches)
            began = time.perf_counter()
            step(batch)
            dist.barrier()
            if number:  # the first round warms up
                waited.append(began - requested)
                seconds[way].append(time.perf_counter() - began)
    return seconds, sum(waited) / sum(map(sum, seconds.values()))


def _copies(adversary: Adversary) -> Callable[[Any], object]:
    """The minimal work of copies: each process trains, gradients are added as one tensor."""
    both = adversary.generator, adversary.discriminator
    own = {id(parameter) for network in both for parameter in network.parameters()}

    def add(adam: Adam, _args: Any, _kwargs: Any) -> None:
        learning = [one for one in adam.param_groups[0]["params"] if id(one) in own]
        if learning:
            flat = torch.cat([one.grad.flatten() for one in learning])
            dist.all_reduce(flat)
            parts = torch.split(flat, [one.numel() for one in learning])
            for parameter, part in zip(learning, parts, strict=True):
                parameter.grad.copy_(part.view_as(parameter))

    register_optimizer_step_pre_hook(add)
    return lambda batch: adversary.learn(batch, 0)


if __name__ == "__main__":
    sys.exit(main())
