"""Quality of classical fills and of a version on real videos, and the cost of propagation.

python tests/benchmarks/fills.py --videos YOUTUBE_VOS_FOLDER --held-out ID ... [--json]
    [--model models:/sttn@champion --tracking-uri URI] [--model starter]

Videos at 432x240, clips of 20 frames (protocol `clean`, --clips of each kind of mask), four kinds
of holes: those of the data set (static, moving), a band of subtitles and a moving logo. PSNR in the
hole, mean over videos; of a version also beside the best fill of each case, a video with a kind of
hole.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # `tests` is no installed package

from data_pipeline.build.build import build
from data_pipeline.cli.ray_session import ray_session
from data_pipeline.config import ShardConfig
from data_pipeline.read.clips import clip_order
from data_pipeline.read.reader import DataSet
from mlops.evaluation import inputs
from mlops.evaluation.floor_fills import FILLS, ClipFill
from mlops.evaluation.floors import FLOORS
from mlops.evaluation.metrics import hole_psnr_db
from mlops.evaluation.protocol import PROTOCOLS
from mlops.fills import diffusion, propagation
from mlops.starter.files import STARTER
from mlops.tracking import connection, registry
from mlops.tracking.loaded_model import load
from tests.benchmarks.figures import Figure, show
from training.config.train_config import GeneratorConfig, TrainConfig
from training.learn.batch import batch_of
from training.learn.filling import reading

WIDTH, HEIGHT = 432, 240
TRAINING_REACH = 10
CLIPS = 12  # whose cost is measured

Frames = NDArray[np.uint8]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", required=True, help="folder in the layout of YouTube-VOS")
    parser.add_argument("--held-out", nargs="+", required=True, help="ids of videos to fill")
    parser.add_argument("--model", help="a version to score too")
    parser.add_argument("--tracking-uri", default="", help="of its registry")
    parser.add_argument("--clips", type=int, default=4, help="of each video and kind of mask")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    fills: dict[str, ClipFill] = dict(FILLS)
    if arguments.model:
        uri = ""
        if arguments.model != STARTER:
            uri = connection.absolute_uri(arguments.tracking_uri)
        fills[arguments.model] = load(uri, registry.resolve(uri, arguments.model)).inpaint
    with tempfile.TemporaryDirectory() as folder:
        figures = _figures(_made(folder, arguments), fills, arguments.clips)
        show(figures, json_lines=arguments.json)


def _made(folder: str, arguments: argparse.Namespace) -> DataSet:
    config = ShardConfig(
        source="youtube-vos",
        input=(arguments.videos,),
        output=f"{folder}/v1",
        held_out=tuple(arguments.held_out),
        width=WIDTH,
        height=HEIGHT,
        static=8,
        moving=8,
        workers=2,
    )
    with ray_session(2):
        return DataSet.open(build(config).uri)


def _figures(data: DataSet, fills: dict[str, ClipFill], most: int) -> Iterator[Figure]:
    clips: list[inputs.Inputs] = []
    taken: Counter[tuple[str, str]] = Counter()
    for place in inputs.fixed_clips(data, PROTOCOLS["clean"]):
        one = inputs.read(data, place, PROTOCOLS["clean"])
        taken[one.video.id, one.mask_kind] += 1
        if taken[one.video.id, one.mask_kind] <= most:
            clips.append(one)
    kinds: dict[str, Callable[[inputs.Inputs], Frames]] = {
        "standing still": lambda clip: clip.masks,
        "moving": lambda clip: clip.masks,
        "subtitle band": lambda clip: _band(len(clip.frames)),
        "moving logo": lambda clip: _logo(clip.clip.frames),
    }
    cases: list[dict[str, float]] = []
    for kind, hole in kinds.items():
        chosen = [clip for clip in clips if clip.mask_kind == _KIND_OF.get(kind, clip.mask_kind)]
        holes = [(one.video.id, one.frames, hole(one)) for one in chosen]
        yield from _levels(kind, holes, fills, cases)
    yield from _gains(cases)
    yield from _costs(data, clips)


_KIND_OF = {"standing still": "stationary", "moving": "moving"}


def _band(count: int) -> Frames:
    """A line of subtitles in every frame at the same place."""
    masks = np.zeros((count, HEIGHT, WIDTH), np.uint8)
    masks[:, -34:-12, 66:-66] = 1
    return masks


def _logo(numbers: Sequence[int]) -> Frames:
    """A square of 44 pixels that drifts through the upper part of the frame, 3 pixels a frame."""
    masks = np.zeros((len(numbers), HEIGHT, WIDTH), np.uint8)
    for mask, number in zip(masks, numbers, strict=True):
        left = abs(3 * number % (2 * (WIDTH - 44)) - (WIDTH - 44))
        mask[16:60, left : left + 44] = 1
    return masks


def _levels(
    kind: str,
    clips: Sequence[tuple[str, Frames, Frames]],
    fills: dict[str, ClipFill],
    cases: list[dict[str, float]],
) -> Iterator[Figure]:
    """PSNR in the hole of each fill beside Telea's, mean over videos; each video is a case more."""
    of_video: dict[str, dict[str, float]] = {}
    telea, *_ = (one.subject for one in FLOORS if "telea" in one.subject)
    levels: dict[str, float] = {}
    for name in [telea, *(one for one in fills if one != telea)]:
        began, found = time.thread_time(), {}
        for video, frames, masks in clips:
            found.setdefault(video, []).append(
                _hole_psnr(frames, fills[name](frames, masks), masks)
            )
        seconds = (time.thread_time() - began) / sum(len(frames) for _, frames, _ in clips)
        for video, those in found.items():
            of_video.setdefault(video, {})[name] = float(np.mean(those))
        levels[name] = float(np.mean([one[name] for one in of_video.values()]))
        yield Figure(
            f"{kind}: {name}, {1e3 * seconds:.0f} ms a frame", levels[name], "dB",
            f"Telea, {levels[telea]:.2f} dB ({levels[name] - levels[telea]:+.2f} dB)",
            levels[name] / levels[telea],
        )  # fmt: skip
    cases += of_video.values()


def _gains(cases: Sequence[dict[str, float]]) -> Iterator[Figure]:
    """The version against the best classical fill of each case."""
    for name in [one for one in cases[0] if one not in FILLS]:
        best = np.array([max(case[one] for one in FILLS) for case in cases])
        gains = np.array([case[name] for case in cases]) - best
        yield Figure(
            f"{name}: gain over the best fill of each case", float(gains.mean()), "dB",
            f"best fill, {best.mean():.2f} dB; ahead in {np.mean(gains > 0):.0%} of {len(cases)} "
            f"cases, worst {gains.min():+.2f} dB",
            float((best + gains).mean() / best.mean()),
        )  # fmt: skip


def _hole_psnr(truth: Frames, filled: Frames, masks: Frames) -> float:
    return float(
        np.mean(
            [hole_psnr_db(*one) for one in zip(truth, filled, masks, strict=True) if one[2].any()]
        )
    )


def _costs(data: DataSet, clips: Sequence[inputs.Inputs]) -> Iterator[Figure]:
    """Seconds of one core: a frame's diffusion, flow and propagation, and a training clip's."""
    frames, masks = clips[0].frames, clips[0].masks
    flow = _a_call(lambda: propagation.dis()(0, frames[0], frames[1]))
    yield _against("optical flow of a pair, both ways, one core", 1e3 * flow, "ms", 1e3 * flow)
    alone = _a_call(lambda: diffusion.diffuse(frames[0], masks[0] != 0))
    yield _against("diffusion of a frame, one core", 1e3 * alone, "ms", 1e3 * flow)
    whole = _a_call(lambda: list(propagation.propagated(zip(frames, masks, strict=True))))
    each = whole / len(frames)
    yield _against("propagation of a frame, one core", 1e3 * each, "ms", 1e3 * flow)
    plain = _clip_seconds(data, GeneratorConfig())
    for fill in ("diffuse", "propagate"):
        shape = GeneratorConfig(fill=fill)
        seconds = _clip_seconds(data, shape)
        name = f"a training clip, fill {fill}, reach {TRAINING_REACH}, one core"
        yield Figure(
            name, 1e3 * seconds, "ms", f"without a fill, {1e3 * plain:.1f} ms", seconds / plain
        )


def _clip_seconds(data: DataSet, shape: GeneratorConfig) -> float:
    """Of one core, from a warm cache to tensors, mean over clips."""
    config = TrainConfig(
        generator=shape, clip_frames=5, clip_references=1, clip_reach=TRAINING_REACH
    )
    order = clip_order(data, "train", 0, 5, 8, 1)
    videos, read = data.videos("train"), reading(config)
    wanted = [order.clip(position) for position in range(CLIPS)]
    for clip in wanted[:2]:
        read(data, videos[clip.video], clip)
    began = time.thread_time()
    for clip in wanted:
        batch_of([read(data, videos[clip.video], clip)], [1.0])
    return (time.thread_time() - began) / len(wanted)


def _a_call(work: Callable[[], object]) -> float:
    """Seconds of this thread on its core, median of some calls."""
    times = []
    for _ in range(5):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return float(np.median(times))


def _against(name: str, value: float, unit: str, other: float) -> Figure:
    return Figure(name, value, unit, f"the flow of a pair, {other:.1f} ms", value / other)


if __name__ == "__main__":
    main()
