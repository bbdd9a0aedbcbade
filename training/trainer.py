"""Owns time: clips seen, intervals, the end. The loop says by name what happens and when."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data_pipeline.clips import Clip, evaluation_clips
from data_pipeline.reader import DataSet, read_clip
from mlops import names
from training import parallel
from training.adversary import Adversary
from training.batch import Batch
from training.config import TrainConfig
from training.loader import share
from training.networks import build_generator
from training.saver import Saver
from training.telemetry import Telemetry, before_and_after


@dataclass(frozen=True, slots=True)
class Iteration:
    """What one iteration left behind on this rank."""

    clips: int
    """Position of its first clip."""
    losses: dict[str, Tensor]
    gradient_squares: dict[str, Tensor]


def train(
    config: TrainConfig,
    adversary: Adversary,
    batches: Iterator[Batch],
    *,
    clips: int,
    saver: Saver,
    leaving: Callable[[], frozenset[str]],
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
        saver: of this rank.
        leaving: nodes that are about to go away, the same on all ranks. Collective.
        state: JSON values written with every checkpoint.
        data_set: for the picture.
        device: where the networks are.
        telemetry: on rank 0, None elsewhere.
    """
    interval: list[Iteration] = []
    waited_s = 0.0  # of the interval
    left: frozenset[str] = frozenset()  # nodes whose leaving a checkpoint has been written for
    if clips == 0:
        _picture(config, adversary, data_set, telemetry, clips)
    while clips < config.clips:
        asked = time.monotonic()
        batch = next(batches).to(device)
        waited_s += time.monotonic() - asked

        losses = adversary.learn(batch, clips)
        before, clips = clips, clips + config.batch_clips
        interval.append(Iteration(before, losses, dict(adversary.gradient_squares)))

        done = clips >= config.clips
        going = leaving() - left
        keep = done or bool(going) or _due(before, clips, config.checkpoint_every_clips)
        log = done or _due(before, clips, config.log_every_clips)
        if keep or log:
            means = _means(interval, config.batch_clips)
        if log:
            if telemetry is not None:
                telemetry.scalars(clips, means, adversary.set_learning_rate(before), waited_s)
            interval, waited_s = [], 0.0
        if done or _due(before, clips, config.picture_every_clips):
            _picture(config, adversary, data_set, telemetry, clips)
        if keep:
            _refuse_broken(adversary, clips)
            saver.save(clips, adversary.tensors(), state, score=means[names.LOSS_HOLE])
        if going:
            saver.finish()  # what is still being written when the node goes is lost
            left |= going
    saver.finish()


def _due(before: int, now: int, every: int) -> bool:
    """A multiple of `every` clips was reached or passed."""
    return before // every != now // every


def _means(interval: Sequence[Iteration], batch_clips: int) -> dict[str, float]:
    """Losses of the global batch, averaged over an interval's iterations. Collective.

    Looked at once an interval, because looking waits for the device.

    Raises:
        FloatingPointError: a loss or a gradient is not finite; nothing after the last checkpoint is
            kept.
    """
    known = sorted(interval[0].losses)
    shares = torch.stack([torch.stack([one.losses[name] for name in known]) for one in interval])
    squares = torch.stack([torch.stack(list(one.gradient_squares.values())) for one in interval])
    own = torch.cat([shares.double(), squares], dim=1)  # [iterations, losses and networks]
    total = parallel.sum_over_ranks(own.sum(dim=0))
    if not torch.isfinite(total).all():
        terms = [*known, *(f"gradient of the {name}" for name in interval[0].gradient_squares)]
        raise FloatingPointError(
            f"{_first_broken(interval, own, terms, batch_clips)}; the last checkpoint is good: "
            "lower the learning rates and resume"
        )
    means = (total[: len(known)] / len(interval)).tolist()
    return dict(zip(known, means, strict=True))


def _first_broken(
    interval: Sequence[Iteration], own: Tensor, terms: Sequence[str], batch_clips: int
) -> str:
    """Which terms were not finite first, on which rank and of which clips. Collective."""
    ranks = parallel.gathered((~torch.isfinite(own)).tolist())
    for number, iteration in enumerate(interval):
        found = []
        for rank, broken in enumerate(ranks):
            named = [term for term, one in zip(terms, broken[number], strict=True) if one]
            if named:
                places = share(iteration.clips, batch_clips, rank, len(ranks))
                clips = ", ".join(str(position) for position, weight in places if weight)
                found.append(f"{', '.join(named)} on rank {rank}, clips {clips}")
        if found:
            return f"not finite: {'; '.join(found)}"
    raise AssertionError("a sum of finite numbers was not finite")


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
