"""The training loop. It owns time: clips seen, intervals, the end."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlops.tracking import names
from training.checkpoints.saver import Saver
from training.config.train_config import TrainConfig
from training.learn import parallel
from training.learn.adversary import Adversary
from training.learn.batch import Batch
from training.learn.loader import share
from training.observe.phases import CHECKPOINTS, CURVES, DATA, LEARNING, VALIDATION, Phases
from training.observe.preemption import Preemption
from training.observe.telemetry import Telemetry
from training.observe.validation import Validation
from training.observe.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Iteration:
    """Results of one iteration on this rank."""

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
    preemption: Preemption,
    watch: Watchdog,
    state: Mapping[str, Any],
    validation: Validation,
    device: torch.device,
    telemetry: Telemetry | None,
) -> None:
    """Train from clip `clips` to `config.clips`; every rank runs this.

    Args:
        config: the run.
        adversary: networks and optimisers, as they were after `clips`.
        batches: this rank's shares, the first at position `clips`.
        clips: clips seen so far.
        saver: of this rank.
        preemption: knows the nodes that are about to be taken away.
        watch: gets a heartbeat each iteration.
        state: JSON values written with every checkpoint.
        validation: scores and pictures of fixed clips.
        device: where the networks are.
        telemetry: on rank 0, None elsewhere.
    """
    began, phases = time.monotonic(), Phases()
    interval: list[Iteration] = []
    saved: frozenset[str] = frozenset()  # preempted nodes that have their early checkpoint
    if clips == 0:
        with phases.of(VALIDATION):
            _validate(validation, adversary, telemetry, clips)
    while clips < config.clips:
        watch.beat(clips)
        with phases.of(DATA):
            batch = next(batches).to(device)
        with phases.of(LEARNING):
            losses = adversary.learn(batch, clips)
        before, clips = clips, clips + config.batch_clips
        interval.append(Iteration(before, losses, dict(adversary.gradient_squares)))

        done = clips >= config.clips
        preempted = preemption.nodes() - saved
        keep = done or bool(preempted) or _due(before, clips, config.checkpoint_every_clips)
        log = done or _due(before, clips, config.log_every_clips)
        if keep or log:
            with phases.of(CURVES):
                means = _means(interval, config.batch_clips)
        if log:
            rate = adversary.set_learning_rate(before)
            _log(telemetry, clips, means, rate, phases.interval())
            interval = []
        if done or _due(before, clips, config.validate_every_clips):
            watch.beat(clips)
            with phases.of(VALIDATION):
                _validate(validation, adversary, telemetry, clips)
        if keep:
            watch.beat(clips)
            with phases.of(CHECKPOINTS):
                _refuse_broken(adversary, clips)
                saver.save(clips, adversary.tensors(), state, score=means[names.LOSS_HOLE])
                if done or preempted:
                    saver.finish()  # a checkpoint that is half written when the node goes is lost
            saved |= preempted
    if telemetry is not None:
        telemetry.time_by_phase(phases, time.monotonic() - began)


def _log(
    telemetry: Telemetry | None,
    clips: int,
    means: Mapping[str, float],
    rate: float,
    seconds: Mapping[str, float],
) -> None:
    if telemetry is not None:
        telemetry.scalars(clips, means, rate, seconds)


def _due(before: int, now: int, every: int) -> bool:
    """True where a multiple of `every` clips was reached or passed."""
    return before // every != now // every


def _means(interval: Sequence[Iteration], batch_clips: int) -> dict[str, float]:
    """Losses of the global batch, averaged over an interval's iterations. Collective.

    Read once an interval, because reading waits for the device.

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
    """The first terms that were not finite, with rank and clips. Collective."""
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
    """Refuse a checkpoint of tensors that are not finite. Collective.

    Raises:
        FloatingPointError: weights, averages or moments are not; the losses may have been.
    """
    broken = parallel.not_finite(adversary.tensors())
    if broken:
        raise FloatingPointError(
            f"{len(broken)} tensors not finite at clip {clips}, {broken[0]} among them; the last "
            "checkpoint is good: lower the learning rates and resume"
        )


def _validate(
    validation: Validation, adversary: Adversary, telemetry: Telemetry | None, clips: int
) -> None:
    """Log scores and pictures of the averaged generator on fixed clips. Collective."""
    generator = validation.generator(adversary)
    scores = validation.scores(generator)
    if telemetry is not None:
        telemetry.validation(clips, scores, validation.shown(generator))
