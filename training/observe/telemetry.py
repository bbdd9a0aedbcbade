"""Telemetry of a run: MLflow, Prometheus and the progress bar; only rank 0 writes."""

import contextlib
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from av import FFmpegError
from PIL import Image
from ray.util.metrics import Gauge
from torch.profiler import ProfilerActivity, profile, schedule

from mlops.media.pictures import write_video
from mlops.tracking import names
from mlops.tracking.journal import now_ms
from training.config.train_config import TrainConfig
from training.learn.batch import Batch
from training.observe.journals import CLOSE_S, open_journal
from training.observe.phases import CHECKPOINTS, DATA, VALIDATION, Phases
from training.observe.validation import Shown

_SHARES = {
    DATA: names.DATA_WAIT,
    CHECKPOINTS: names.CHECKPOINT_WAIT,
    VALIDATION: names.VALIDATION_TIME,
}
_NOT_PROFILED = 3  # iterations: the first ones allocate and choose algorithms


@dataclass(frozen=True, slots=True)
class Pace:
    """Figures that turn clips per second into model FLOP utilisation."""

    flops_per_clip: float
    """FLOPs of a whole iteration, for one clip."""
    workers: int
    """Workers that share the clips."""
    peak: float
    """FLOPs per second that one worker's GPU reaches; 0 = it computes on a CPU."""


class Telemetry:
    """Writes scalars, pictures and files of a run to MLflow, and its status to the board.

    Metrics are buffered in a journal on this node's disk, so that nothing here waits for MLflow. A
    context manager: at its end it sends the rest, for a limited time.

    Args:
        config: of the run.
        run_id: MLflow's, made once for the run, whatever restarts.
        board: handle of the driver's `Board` actor.
        clips: clips seen so far.
        pace: of this run.
    """

    def __init__(
        self, config: TrainConfig, run_id: str, board: Any, *, clips: int, pace: Pace
    ) -> None:
        self._journal = open_journal(str(config.tracking_uri), run_id)
        self._gauge = Gauge(names.GAUGE, "Scalars of a training run.", ("run", "scalar"))
        self._gauge.set_default_tags({"run": config.name})
        self._board = board
        self._pace = pace
        self._clips = clips
        self._began = time.monotonic()
        iterations = config.profile_iterations
        self._profile = self._profiler(iterations) if iterations else None

    def __enter__(self) -> "Telemetry":
        if self._profile is not None:
            self._profile.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._profile is not None:
            self._profile.stop()
        # After an error the other workers wait until this one has ended.
        left = self._journal.close(CLOSE_S if error is None else 1.0)
        if left or self._journal.lost:
            self._board.report.remote(
                f"MLflow: {left} buffered lines not sent yet, {self._journal.lost} lost "
                f"({self._journal.trouble}); those in {self._journal.folder} are sent by the "
                "next start"
            )

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        self._journal.append({"tags": dict(tags)})

    def scalars(
        self,
        clips: int,
        losses: Mapping[str, float],
        learning_rate: float,
        seconds: Mapping[str, float],
    ) -> None:
        """Log the means of an interval.

        Args:
            clips: clips seen at its end.
            losses: of the global batch, means over the interval.
            learning_rate: of the generator.
            seconds: of the interval on rank 0, by phase.
        """
        elapsed = max(time.monotonic() - self._began, 1e-9)
        speed = (clips - self._clips) / elapsed
        flops = speed * self._pace.flops_per_clip / self._pace.workers
        shares = {name: seconds.get(phase, 0.0) / elapsed for phase, name in _SHARES.items()}
        values = {
            **losses,
            names.LEARNING_RATE: learning_rate,
            names.CLIPS_PER_SECOND: speed,
            names.TERAFLOPS: flops / 1e12,
            **shares,
        }
        gpu = self._pace.peak > 0
        fast = f"{flops / 1e9:.1f} GFLOP/s each"
        if gpu:
            values[names.UTILISATION] = flops / self._pace.peak
            fast = f"{values[names.UTILISATION]:.0%} MFU"
        self._values(clips, values)
        note = (
            f"hole {losses[names.LOSS_HOLE]:.3f}, valid {losses[names.LOSS_VALID]:.3f}, "
            f"adversarial {losses[names.LOSS_GENERATOR_ADVERSARIAL]:.3f}, "
            f"{speed:.2f} clips/s now, {fast}, {_memory_bytes(gpu=gpu) / 2**30:.1f} GiB, "
            f"data wait {shares[names.DATA_WAIT]:.1%}"
        )
        self._board.post.remote(clips, note)
        self._clips, self._began = clips, time.monotonic()

    def validation(self, clips: int, scores: Mapping[str, float], shown: Shown) -> None:
        """Log scores, a before/after picture and a short video."""
        if scores:
            self._values(clips, scores)
        picture = self._journal.folder / f"{clips:09d}.png"
        with contextlib.suppress(OSError):  # a line whose file is missing is skipped
            Image.fromarray(shown.picture()).save(picture)
        self._journal.append({"clips": clips, "picture": picture.name})
        film = self._journal.folder / f"{clips:09d}.mp4"
        with contextlib.suppress(OSError, FFmpegError):
            write_video(film, shown.video())
        self._journal.append({"file": film.name, "folder": names.VALIDATION_FOLDER})

    def profiled(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; each is an iteration of the profile, if there is one.

        The trace goes to MLflow after `profile_iterations`.
        """
        for batch in batches:
            yield batch
            if self._profile is not None:
                self._profile.step()

    def time_by_phase(self, phases: Phases, elapsed: float) -> None:
        """Report the seconds of each phase since this start, on rank 0."""
        if elapsed <= 0:
            return
        known = {**phases.total, "other": max(0.0, elapsed - sum(phases.total.values()))}
        parts = [
            f"{name} {seconds:.1f} s ({seconds / elapsed:.1%})" for name, seconds in known.items()
        ]
        self._board.report.remote(f"time of rank 0, {elapsed:.1f} s: {', '.join(parts)}")

    def _values(self, clips: int, values: Mapping[str, float]) -> None:
        self._journal.append({"clips": clips, "time_ms": now_ms(), "values": dict(values)})
        for scalar, value in {names.CLIPS: clips, **values}.items():
            self._gauge.set(value, {"scalar": scalar})

    def _profiler(self, iterations: int) -> profile:
        def save(recorded: profile) -> None:
            file = self._journal.folder / f"clips-{self._clips:09d}.trace.json.gz"
            with contextlib.suppress(OSError):
                recorded.export_chrome_trace(str(file))
            self._journal.append({"file": file.name, "folder": names.PROFILE_FOLDER})

        kinds = [ProfilerActivity.CPU]
        kinds += [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        plan = schedule(wait=_NOT_PROFILED - 1, warmup=1, active=iterations, repeat=1)
        return profile(activities=kinds, schedule=plan, on_trace_ready=save)


def _memory_bytes(*, gpu: bool) -> int:
    """Peak memory of this process: on the GPU where it computes there, else RAM."""
    if gpu:
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
