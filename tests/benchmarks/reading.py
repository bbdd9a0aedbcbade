"""Clips, their order, the index and the cache: speed, memory and mixing.

python tests/benchmarks/reading.py [--json] [--clips 10000]

All data is made by the true writer and encoders in a temporary folder; everything is read from the
page cache.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data_pipeline.cli.ray_session import ray_session
from data_pipeline.format import manifest
from data_pipeline.format.catalogue import (
    CATALOGUE,
    OK,
    FrameRow,
    VideoRow,
    encode_catalogue,
    encode_index,
    index_path,
)
from data_pipeline.format.manifest import File, Manifest
from data_pipeline.read.cache import NodeCache
from data_pipeline.read.clips import ClipOrder, clip_order
from data_pipeline.read.reader import DataSet, read_clip
from data_pipeline.storage import lake
from training.learn.batch import to_tensors
from training.learn.loader import Loader

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests are not installed
from tests.benchmarks.figures import Figure, show
from tests.tiny import shard_tiny, write_video

HEIGHT, WIDTH, CLIP_FRAMES = 240, 432, 5
CLIP_MS, OPEN_MS = 10.0, 100.0
VIDEOS, SHARDS, FRAMES = 3471, 54, 469_887  # YouTube-VOS
BATCH = 8
SHARD_BYTES = 256 * 10**6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--clips", type=int, default=10_000)
    arguments = parser.parse_args()
    show(_figures(arguments.clips), json_lines=arguments.json)


def _figures(clips: int) -> Iterator[Figure]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yield from _clips(_make(folder), clips)
        yield from _opening(folder / "index")
        yield from _caching(folder)
    yield from _order_at_a_million()
    yield from _shuffling()


def _make(folder: Path) -> DataSet:
    """540 frames of about 24 KB in six videos, with four masks each."""
    paths = [
        write_video(folder / f"v{i}.mp4", frames=90, height=HEIGHT, width=WIDTH, seed=i)
        for i in range(6)
    ]
    with ray_session(2):
        made = shard_tiny(
            folder / "v1", paths, held_out=("v0",), width=WIDTH, height=HEIGHT, masks=2
        )
    return DataSet.open(made.uri)


def _clips(data: DataSet, clips: int) -> Iterator[Figure]:
    order = clip_order(data, "train", 0, CLIP_FRAMES, 8)
    videos = data.videos("train")

    turns = itertools.count()

    def read() -> None:
        for position in islice(turns, 100):
            clip = order.clip(position)
            to_tensors(*read_clip(data, videos[clip.video], clip))

    # Time of this thread on its core, so that other work on the machine does not count.
    passes = [_core_seconds(read) / 100 for _ in range(20)]
    one = float(np.median(passes))
    yield _against("clip as float tensors, one core, warm", one * 1e3, "ms", CLIP_MS)
    settings = {"batch_clips": BATCH, "rank": 0, "world": 1, "position": 0}
    with Loader(data, "train", order, prefetch_clips=2 * BATCH, **settings) as loader:
        batches = iter(loader)
        warm = 1000 // BATCH
        for _ in islice(batches, warm):
            pass
        before = _resident_bytes()
        seconds = _seconds(lambda: [None for _ in islice(batches, clips // BATCH)])
        after = _resident_bytes()
    rate = clips // BATCH * BATCH / seconds
    alone = 100 / float(np.median([_seconds(read) for _ in range(10)]))
    yield Figure("clips by two threads", rate, "clips/s", "one thread", rate / alone)
    grown = (after - before) / 2**20
    against = "memory before them"
    yield Figure(f"memory grown over {clips} clips", grown, "MiB", against, after / before)


def _opening(folder: Path) -> Iterator[Figure]:
    frames = _make_index(folder)
    # In processes that have never opened one; their imports are not counted.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as alone:
        times = [alone.submit(_open_times, str(folder)).result() for _ in range(3)]
    first, later = map(min, zip(*times, strict=True))
    yield _against(f"index of {frames} frames opened, all of it", first * 1e3, "ms", OPEN_MS)
    yield _against("the same, a second time in one process", later * 1e3, "ms", OPEN_MS)


def _open_times(uri: str) -> tuple[float, float]:
    def opened() -> None:
        data = DataSet.open(uri)
        for shard in {video.shard for video in data.videos("train")}:
            data._index(shard)

    return _seconds(opened), min(_seconds(opened) for _ in range(5))


def _make_index(folder: Path) -> int:
    """The tables of half a million frames in 65 shards; returns how many frames. No tars."""
    random = np.random.default_rng(0)
    lengths = random.integers(110, 181, VIDEOS)
    rows, payload = list[VideoRow](), dict[str, File]()

    def put(path: str, data: bytes) -> None:
        lake.write_bytes(str(folder / path), data)
        payload[path] = File(len(data), sha256(data).hexdigest())

    for number, videos in enumerate(np.array_split(np.arange(VIDEOS), 65)):
        tar = f"shards/train-{number:05d}-{number:08x}.tar"
        frames, offset = list[FrameRow](), 512
        for video in map(int, videos):
            sizes = random.integers(15_000, 40_000, lengths[video])
            for frame, size in enumerate(map(int, sizes)):
                crc32 = int(random.integers(2**32))
                frames.append(FrameRow(f"{video:010x}", frame, offset, size, crc32))
                offset += size // 512 * 512 + 1024
            rows.append(_video_row(f"{video:010x}", len(sizes), tar, offset, random))
        put(index_path(f"train-{number:05d}"), encode_index(tar, frames))
    put(CATALOGUE, encode_catalogue(rows))
    settings = {"width": WIDTH, "height": HEIGHT}
    made = Manifest(settings, payload, manifest.digest_of(settings, payload), {})
    manifest.create(str(folder), made)
    return int(lengths.sum())


def _video_row(
    key: str, frames: int, shard: str, offset: int, random: np.random.Generator
) -> VideoRow:
    chunks = (8, -(-frames // 32))
    return VideoRow(
        id=key,
        split="train",
        status=OK,
        frames=frames,
        fps="25",
        shard=shard,
        masks_offset=offset,
        mask_kinds=["stationary", "moving"] * 4,
        chunk_bytes=random.integers(100, 4000, chunks).tolist(),
        chunk_crc32=random.integers(2**32, size=chunks).tolist(),
        source_name=f"JPEGImages/{key}",
        source_sha256=sha256(key.encode()).hexdigest(),
    )


def _caching(folder: Path) -> Iterator[Figure]:
    """A shard of the usual size, from a disk."""
    data = np.random.default_rng(0).bytes(SHARD_BYTES)
    (folder / "shard.tar").write_bytes(data)
    cache = NodeCache(folder / "cache", 2 * SHARD_BYTES)
    wanted = (str(folder / "shard.tar"), sha256(data).hexdigest(), len(data))

    def opened() -> None:
        cache.open(*wanted).close()

    first = _seconds(opened)
    yield Figure("shard of 256 MB copied and hashed", first, "s", "256 MB/s", first)
    again = float(np.median([_seconds(opened) for _ in range(1000)]))
    yield Figure("the same shard opened again", again * 1e6, "us", "the first time", again / first)


def _order_at_a_million() -> Iterator[Figure]:
    shards = tuple(f"shard-{video // 64}" for video in range(10**6))
    order = ClipOrder(0, shards, (100,) * 10**6, (4,) * 10**6, CLIP_FRAMES, 8)
    order.clip(0)
    seconds = _seconds(lambda: order.clip(10**6))
    yield _against("order of an epoch of a million videos", seconds, "s", 1.0)


def _shuffling() -> Iterator[Figure]:
    """How far the order of a set like YouTube-VOS is from a full permutation of its videos."""
    shards = tuple(f"shard-{video * SHARDS // VIDEOS}" for video in range(VIDEOS))
    lengths = (FRAMES // VIDEOS,) * VIDEOS
    full = _mixing(ClipOrder(0, shards, lengths, (1,) * VIDEOS, CLIP_FRAMES, SHARDS))
    for window in (1, 4, 8, SHARDS):
        order = ClipOrder(0, shards, lengths, (1,) * VIDEOS, CLIP_FRAMES, window)
        for (name, unit), value in _mixing(order).items():
            against = full[name, unit]
            words = f"window {window}: {name}"
            yield Figure(words, value, unit, "all mixed", value / against)


def _mixing(order: ClipOrder, epochs: int = 12) -> dict[tuple[str, str], float]:
    """Figures over the batches of some epochs; videos that fill no batch are left out."""
    shard = np.unique(order.shards, return_inverse=True)[1]
    videos = np.stack([order._order(epoch) for epoch in range(epochs)])
    places = np.argsort(videos)  # [epochs, videos]
    whole = videos.shape[1] // BATCH * BATCH
    batches = videos[:, :whole].reshape(epochs, -1, BATCH)
    first, second = np.triu_indices(BATCH, 1)
    one, other = batches[..., first], batches[..., second]  # pairs of a batch
    again = [
        (places[e + 1, one[e]] // BATCH == places[e + 1, other[e]] // BATCH).mean()
        for e in range(epochs - 1)
    ]
    agreement = [abs(np.corrcoef(places[e], places[e + 1])[0, 1]) for e in range(epochs - 1)]
    near = [_distance(places[:, shard == number]) for number in range(shard.max() + 1)]
    return {
        ("pairs of a batch that share a shard", "share"): float(
            (shard[one] == shard[other]).mean()
        ),
        ("pairs of a batch that meet again next epoch", "share"): float(np.mean(again)),
        ("correlation of the places in two epochs", "|r|"): float(np.mean(agreement)),
        ("distance between videos of a shard", "places"): float(np.mean(near)),
    }


def _distance(places: NDArray[np.int64]) -> float:
    """Mean distance of two videos, [epochs, videos]."""
    return float(np.abs(places[:, :, None] - places[:, None, :]).mean())


def _against(figure: str, value: float, unit: str, limit: float) -> Figure:
    return Figure(figure, value, unit, f"{limit:g} {unit}", value / limit)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _core_seconds(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
