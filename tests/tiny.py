"""Small real inputs for tests: video files, and a data set that the product builds of them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from data_pipeline.build.build import BuildResult, build
from data_pipeline.config import ShardConfig

FRAMES, HEIGHT, WIDTH = 12, 96, 96


def write_video(
    path: Path,
    *,
    frames: int = FRAMES,
    height: int = HEIGHT,
    width: int = WIDTH,
    fps: Fraction | int = 25,
    seed: int = 0,
) -> Path:
    """Write an H.264 file: a smooth coloured pattern that moves steadily."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, size=(3, 2))
    y, x = np.mgrid[:height, :width]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(frames):
            waves = [
                np.sin(2 * np.pi * (x + 2 * number) / 64 + a) + np.cos(2 * np.pi * y / 48 + b)
                for a, b in phases
            ]
            picture = np.clip(128 + 50 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_videos(folder: Path, lengths: Sequence[int]) -> list[Path]:
    """Write `video-0.mp4`, `video-1.mp4` ... with so many frames each."""
    return [
        write_video(folder / f"video-{i}.mp4", frames=frames, seed=i)
        for i, frames in enumerate(lengths)
    ]


def shard_tiny(
    output: Path | str,
    videos: Sequence[Path],
    *,
    held_out: Sequence[str] = ("video-0",),
    width: int = WIDTH,
    height: int = HEIGHT,
    masks: int = 1,
    workers: int = 1,
    seed: int = 0,
    **fields: Any,
) -> BuildResult:
    """Build a data set with `masks` static and as many moving masks a video."""
    return build(
        ShardConfig(
            input=tuple(str(path) for path in videos),
            output=str(output),
            held_out=tuple(held_out),
            width=width,
            height=height,
            static=masks,
            moving=masks,
            seed=seed,
            shard_megabytes=1,
            workers=workers,
            **fields,
        )
    )
