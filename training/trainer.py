"""Owns time: clips seen, intervals, the end. The loop says by name what happens and when."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from data_pipeline.clips import Clip, evaluation_clips
from data_pipeline.reader import DataSet, read_clip
from training import checkpoint, parallel
from training.adversary import Adversary
from training.batch import Batch
from training.config import TrainConfig
from training.networks import build_generator
from training.telemetry import Telemetry, before_and_after


def train(
    config: TrainConfig,
    adversary: Adversary,
    batches: Iterator[Batch],
    *,
    clips: int,
    run_uri: str,
    state: Mapping[str, Any],
    data_set: DataSet,
    device: torch.device,
    telemetry: Telemetry | None,
) -> None:
    """Learn from clip `clips` on to `config.clips`; every rank runs this.

    Args:
        config: the run.
        adversary: what learns, as it was after `clips`.
        batches: this rank's shares, the first at position `clips`.
        clips: clips seen so far.
        run_uri: `<storage>/<run>`.
        state: JSON values written with every checkpoint.
        data_set: for the picture.
        device: where the networks are.
        telemetry: on rank 0, None elsewhere.
    """
    interval: dict[str, Tensor] = {}
    iterations = 0  # of the interval
    waited_s = 0.0  # of the interval
    if clips == 0:
        _picture(config, adversary, data_set, telemetry, clips)
    while clips < config.clips:
        asked = time.monotonic()
        batch = next(batches).to(device)
        waited_s += time.monotonic() - asked

        losses = adversary.learn(batch, clips)
        before, clips = clips, clips + config.batch_clips
        iterations += 1
        interval = {name: interval.get(name, 0) + value for name, value in losses.items()}

        done = clips >= config.clips
        if done or _due(before, clips, config.log_every_clips):
            means = _means(interval, iterations, clips)
            if telemetry is not None:
                telemetry.scalars(clips, means, adversary.set_learning_rate(before), waited_s)
            interval, iterations, waited_s = {}, 0, 0.0
        if done or _due(before, clips, config.picture_every_clips):
            _picture(config, adversary, data_set, telemetry, clips)
        if done or _due(before, clips, config.checkpoint_every_clips):
            _refuse_broken(adversary, clips)
            checkpoint.save(run_uri, clips, adversary.tensors(), state)
            if telemetry is not None:
                checkpoint.prune(run_uri, config.keep_checkpoints)


def _due(before: int, now: int, every: int) -> bool:
    """A multiple of `every` clips was reached or passed."""
    return before // every != now // every


def _means(interval: Mapping[str, Tensor], iterations: int, clips: int) -> dict[str, float]:
    """Losses of the global batch, averaged over an interval's iterations. Collective.

    Raises:
        FloatingPointError: one of them is not finite; nothing after the last checkpoint is kept.
    """
    names = sorted(interval)
    total = parallel.sum_over_ranks(torch.stack([interval[name] for name in names]).double())
    means = dict(zip(names, (total / iterations).tolist(), strict=True))
    broken = [name for name, value in means.items() if not math.isfinite(value)]
    if broken:
        raise FloatingPointError(
            f"{', '.join(broken)} not finite within the {iterations} iterations before clip "
            f"{clips}; the last checkpoint is good: lower the learning rates and resume"
        )
    return means


def _refuse_broken(adversary: Adversary, clips: int) -> None:
    """Nothing that is not finite becomes a checkpoint. Collective.

    Raises:
        FloatingPointError: weights, averages or moments are not; the losses may have been.
    """
    broken = parallel.not_finite(adversary.tensors())
    if broken:
        raise FloatingPointError(
            f"{len(broken)} tensors not finite at clip {clips}, {broken[0]} among them; the last "
            "checkpoint is good: lower the learning rates and resume"
        )


def _picture(
    config: TrainConfig,
    adversary: Adversary,
    data_set: DataSet,
    telemetry: Telemetry | None,
    clips: int,
) -> None:
    """Log what the averaged generator makes of one fixed clip. Collective."""
    weights = {name: parallel.whole(value).cpu() for name, value in adversary.ema.items()}
    if telemetry is None:
        return
    # Unseen video where there is some: what is learnt by heart looks good on the other.
    split = "test" if "test" in data_set.splits else "train"
    video = data_set.videos(split)[0]
    frames = min(config.clip_frames, video.frames)
    clip: Clip = evaluation_clips((video.frames,), (len(video.mask_kinds),), 1, frames)[0]
    generator = build_generator(config.generator)
    generator.load_state_dict(weights)
    telemetry.picture(clips, before_and_after(generator, *read_clip(data_set, video, clip)))
