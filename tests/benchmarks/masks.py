"""Making masks against the official generator, and their bytes in a shard.

python tests/benchmarks/masks.py [--json] [--clips 300]
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from data_pipeline.format import sample
from data_pipeline.masks import free_form
from data_pipeline.masks.objects import object_mask_frames

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests are not installed
from tests.benchmarks.figures import Figure, show

HEIGHT, WIDTH = 240, 432
OFFICIAL_MS = 31.0  # the official code on a machine of the same kind: 20 masks of 240x432
VARIANTS = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--clips", type=int, default=300)
    arguments = parser.parse_args()
    show((*_times(arguments.clips), *_sizes()), json_lines=arguments.json)


def _times(clips: int) -> Iterator[Figure]:
    for kind in free_form.KINDS:
        seconds = []
        for seed in range(clips):
            start = perf_counter()
            _sequence(kind, seed, 20)
            seconds.append(perf_counter() - start)
        ms = median(seconds) * 1000
        name = f"20 {kind} masks of {HEIGHT}x{WIDTH}"
        yield Figure(name, ms, "ms", f"official {OFFICIAL_MS:g} ms", ms / OFFICIAL_MS)


def _sizes() -> Iterator[Figure]:
    for kind in free_form.KINDS:
        for frames in (90, 180):
            variants = [sample.encode_masks([_sequence(kind, s, frames)]) for s in range(VARIANTS)]
            size = sum(len(variant.data) for variant in variants) / VARIANTS
            packed = frames * HEIGHT * WIDTH / 8
            name = f"{frames} {kind} masks in a shard"
            yield Figure(name, size, "B", f"{packed:.0f} B of bits", size / packed)


def _sequence(kind: str, seed: int, frames: int) -> NDArray[np.uint8]:
    if kind != free_form.OBJECT:
        return np.stack(list(free_form.mask_frames(kind, seed, frames, HEIGHT, WIDTH)))
    return np.stack(list(object_mask_frames(ANNOTATIONS, seed, frames, HEIGHT, WIDTH)))


def _annotations() -> list[tuple[int, NDArray[np.uint8]]]:
    """Label maps of a made-up donor: a walker whose outline changes, every fifth of 150 frames."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    maps = []
    for frame in range(0, 150, 5):
        angle = np.arctan2(y - 120, x - 60 - 2 * frame)
        radius = np.hypot(y - 120, x - 60 - 2 * frame)
        edge = 40 + 9 * np.sin(5 * angle + frame / 7) + 5 * np.sin(11 * angle - frame / 4)
        maps.append((frame, (radius < edge).astype(np.uint8)))
    return maps


ANNOTATIONS = _annotations()

if __name__ == "__main__":
    main()
