"""A model through the commands: memory over the length of a video, work overlapped with the model.

python tests/benchmarks/using.py [--json] [--frames 3000]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # `tests` is no installed package

from data_pipeline.cli.ray_session import ray_session
from mlops.evaluation.pool import score
from mlops.evaluation.protocol import Protocol
from mlops.evaluation.scoring import Plan
from mlops.tracking import connection, names, registry, runs
from mlops.tracking.registry import Version
from tests.benchmarks.figures import Figure, show
from tests.tiny import shard_tiny, write_video, write_videos
from training.config.presets import PRESETS
from training.config.train_config import GeneratorConfig
from training.learn.networks import build_generator
from training.model.generator import initialise
from training.registration.model_folder import model_folder

ROOT = Path(__file__).parents[2]
SHORT = 100  # frames
WIDTH, HEIGHT = 432, 240


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--frames", type=int, default=3000, help="of the long video")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(figures(Path(folder), arguments.frames), json_lines=arguments.json)


def figures(folder: Path, frames: int) -> Iterator[Figure]:
    """Memory with the demo's narrow network, the rest with the paper's."""
    uri = f"sqlite:///{folder}/mlflow.db"
    connection.local_store_ready(uri)
    narrow = _registered(uri, PRESETS["demo"].generator, 192, 96)
    whole = _registered(uri, GeneratorConfig(), WIDTH, HEIGHT)
    peaks = [
        _inpainted(folder, uri, narrow, length, 640, 360)["peak"] for length in (SHORT, frames)
    ]
    yield Figure(
        f"most memory, video of {frames} frames of 640x360", peaks[1] / 2**20, "MiB",
        f"of {SHORT} frames: {peaks[0] / 2**20:.0f} MiB", peaks[1] / peaks[0],
    )  # fmt: skip
    took = _inpainted(folder, uri, whole, 40, WIDTH, HEIGHT)
    waited = took["stages"]["waiting for decode"] + took["stages"]["waiting for encode"]
    yield Figure(
        "waiting for decoding and encoding, paper's network", waited, "s",
        f"of the whole time: {took['seconds']:.1f} s", waited / took["seconds"],
    )  # fmt: skip
    yield _evaluated(folder, uri, whole)


def _registered(uri: str, shape: GeneratorConfig, width: int, height: int) -> Version:
    generator = build_generator(shape)
    initialise(generator, 0.02, torch.Generator().manual_seed(0))
    run_id = runs.ensure(uri, run_name="random", kind=names.KIND_TRAINING, tags={})
    with model_folder(dict(generator.state_dict()), shape, width, height, "MIT") as (model, _):
        return registry.register(
            uri, name=names.MODEL, run_id=run_id, clips=0, model_dir=model, tags={}
        )


def _inpainted(
    folder: Path, uri: str, version: Version, frames: int, width: int, height: int
) -> dict[str, Any]:
    """The command's JSON for one video, and its `peak` of memory in bytes."""
    video = write_video(folder / "in.mp4", frames=frames, width=width, height=height)
    command = [
        sys.executable, "mlops/inpaint.py", str(video), "100,60,60,40", str(folder / "out.mp4"),
        "--model", version.uri, "--tracking-uri", uri, "--json",
    ]  # fmt: skip
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    ) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, out
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return {**said, "peak": usage.ru_maxrss * 1024}  # Linux counts in KiB


def _evaluated(folder: Path, uri: str, version: Version) -> Figure:
    videos = write_videos(folder / "videos", [20] * 4)
    held_out = [video.stem for video in videos[1:]]
    data = shard_tiny(
        folder / "data" / "v1", videos, held_out=held_out, width=WIDTH, height=HEIGHT
    ).uri
    protocol = Protocol(name="whole", clips_per_video=0, frames_per_clip=0)
    plan = Plan(tracking_uri=uri, data_uri=data, protocol=protocol, workers=1)
    with ray_session(1):
        began = time.monotonic()
        scored = score(plan, version, None, drawn=0)
        seconds = time.monotonic() - began
    return Figure(
        "evaluation, one worker: the model at work", seconds * scored.busy, "s",
        f"of the whole time, its start included: {seconds:.1f} s", scored.busy,
    )  # fmt: skip


if __name__ == "__main__":
    main()
