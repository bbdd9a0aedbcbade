"""Sharding against a plain loop of the same libraries and settings, and planning a million videos.

python tests/benchmarks/sharding.py [--json] [--videos 24] [--frames 300] [--rounds 2]
"""

import argparse
import resource
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from shutil import copy, rmtree
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))  # `tests` is no installed package

from data_pipeline.build import build
from data_pipeline.build.settings import limits_of, packed_tasks, settings_of
from data_pipeline.cli.ray_session import ray_session
from data_pipeline.config import ShardConfig
from data_pipeline.format import sample
from data_pipeline.masks import free_form
from data_pipeline.sources.find import find_videos
from data_pipeline.sources.read import jpegs
from data_pipeline.sources.record import SourceStats, SourceVideo
from tests.benchmarks.figures import Figure, show
from tests.tiny import write_video

MILLION = 1_000_000
# Four videos of 300 frames: enough for a task to be long beside its start, as in a real job.
_SHARD_MEGABYTES = 45


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sharding = tuple(
            _sharding(Path(folder), arguments.videos, arguments.frames, arguments.rounds)
        )
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        planning = alone.submit(_planning).result()
    show((*sharding, *planning), json_lines=arguments.json)


def _sharding(folder: Path, videos: int, frames: int, rounds: int) -> Iterator[Figure]:
    first = write_video(folder / "v0.mp4", frames=frames, height=360, width=640)
    paths = [first, *(Path(copy(first, folder / f"v{i}.mp4")) for i in range(1, videos))]
    config = ShardConfig(input=tuple(map(str, paths)), output="", shard_megabytes=_SHARD_MEGABYTES)
    plain: list[float] = []
    built: dict[int, list[float]] = {1: [], 2: []}
    with ray_session(2):
        # A small job first: Ray starts its workers, every library is loaded, files are cached.
        build.build(replace(config, input=config.input[:2], output=f"{folder}/lake/warm"))
        for number in range(rounds):  # in turn: a shared machine is not equally fast for long
            plain.append(_seconds(partial(_plain_loop, config, folder / "plain.tar")))
            for workers, seconds in built.items():
                output = f"{folder}/lake/{number}-{workers}"
                now = replace(config, output=output, workers=workers)
                seconds.append(_seconds(partial(build.build, now)))
                rmtree(output)
    total = videos * frames
    for workers, seconds in built.items():
        yield Figure(
            f"sharding, {workers} worker{'s' if workers > 1 else ''}",
            total / median(seconds),
            "frames/s",
            f"plain loop, one process: {total / median(plain):.0f} frames/s",
            median(p / s for p, s in zip(plain, seconds, strict=True)),
        )


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _plain_loop(config: ShardConfig, path: Path) -> None:
    """A naive implementation: no plan, no Ray, no manifest; one tar."""
    kinds = free_form.variant_kinds(config.static, config.moving)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for video in find_videos(config):
            count = 0
            for jpeg in jpegs(video, config.width, config.height, limits_of(config), SourceStats()):
                _add(archive, sample.frame_member(video.id, count), jpeg)
                zlib.crc32(jpeg)
                count += 1
            sequences = (
                free_form.mask_frames(kind, number, count, config.height, config.width)
                for number, kind in enumerate(kinds)
            )
            _add(archive, sample.masks_member(video.id), sample.encode_masks(sequences).data)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, BytesIO(data))


def _planning() -> tuple[Figure, ...]:
    """Records of a million videos -> settings, shards, tasks as they travel; in a fresh process."""
    config = ShardConfig(input=("input",), output="output")
    began = time.perf_counter()
    videos = tuple(_record(number) for number in range(MILLION))
    settings_of(config, videos)
    packed_tasks(config, videos)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        Figure("planning 1,000,000 videos", seconds, "s", "60 s", seconds / 60),
        Figure("memory of planning 1,000,000 videos", peak, "GiB", "2 GiB", peak / 2),
    )


def _record(number: int) -> SourceVideo:
    name = f"{number * 2654435761 % 2**40:010x}-{number}"
    return SourceVideo(
        id=name,
        split="train",
        kind="folder",
        uri=f"/lake/raw/train/JPEGImages/{name}",
        name=f"train/JPEGImages/{name}",
        frames=135,
        bytes=135 * 200_000,
        fps="30/1",
        annotations=f"/lake/raw/train/Annotations/{name}",
    )


if __name__ == "__main__":
    sys.exit(main())
