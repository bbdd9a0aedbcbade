"""Starts the workers of a run by Ray Train, shows how far they are, and says why they failed."""

import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import ray
import torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.config import ScalingConfig  # `ray.train` types it as version 1
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from data_pipeline import lake
from data_pipeline.door import Refused, UserError, say
from data_pipeline.progress import progress
from data_pipeline.session import ray_session
from training.board import Board
from training.config import TrainConfig
from training.worker import Job, work

RESIZE_S = 30.0  # between looks whether more workers could be had
_POLL_S = 1.0
_HEAD_S = 2.0  # to answer; Ray ends this process without a word when the head is away for long
_Read = tuple[int, str, list[str]]


def run_workers(config: TrainConfig, job: Job, clips: int, meanwhile: Callable[[], None]) -> None:
    """Train from `clips` on to `config.clips`.

    Args:
        config: resolved.
        job: what every worker is told.
        clips: seen already; for the progress bar.
        meanwhile: called about once a second, in a thread, as long as the workers run.

    Raises:
        UserError: a worker found that the run cannot be as it was asked for.
        Refused: the workers failed more often than allowed.
    """
    with ray_session(cpus=config.workers * config.worker_threads), _known_warnings():
        _say_what_is_waited_for(config)
        board: Any = ray.remote(num_cpus=0)(Board).remote()
        trainer = TorchTrainer(
            work,
            train_loop_config={"job": replace(job, board=board)},
            torch_config=TorchConfig(backend="gloo" if config.device == "cpu" else "nccl"),
            scaling_config=_scaling(config),
            # Checkpoints and metrics are ours; Ray keeps only its own bookkeeping here.
            run_config=RunConfig(
                name="ray",
                storage_path=lake.join(str(config.storage), config.name),
                failure_config=FailureConfig(max_failures=config.worker_failures),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
            ),
        )
        with _shown(config, clips, board, meanwhile):
            try:
                trainer.fit()
            except TrainingFailedError as error:
                raise _in_words(config, error) from error
        ended: tuple[str, bool] | None = ray.get(board.ended.remote())
        if ended is not None:
            why, mistake = ended
            raise UserError(why) if mistake else Refused(f"{config.name!r} has stopped: {why}")


def _scaling(config: TrainConfig) -> ScalingConfig:
    least = config.min_workers or config.workers
    gpus = {"GPU": 1} if config.device == "cuda" else {}
    return ScalingConfig(
        num_workers=config.workers if least == config.workers else (least, config.workers),
        use_gpu=config.device == "cuda",
        resources_per_worker={"CPU": config.worker_threads} | gpus,
        elastic_resize_monitor_interval_s=RESIZE_S,
    )


def refuse_missing_gpus(config: TrainConfig) -> None:
    """A machine never gets more GPUs than it has; a cluster may grow.

    Raises:
        UserError: this machine has too few, and no cluster was named.
    """
    wanted = config.min_workers or config.workers
    if config.device != "cuda" or os.environ.get("RAY_ADDRESS") or ray.is_initialized():
        return
    found = torch.cuda.device_count()
    if found < wanted:
        fewer = f"--workers {found}, " if found else ""
        raise UserError(
            f"{wanted} workers want a GPU each and this machine has {found}: use {fewer}"
            "--device cpu, or a cluster (RAY_ADDRESS)"
        )


def _say_what_is_waited_for(config: TrainConfig) -> None:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    kind, each = ("GPU", 1) if config.device == "cuda" else ("CPU", config.worker_threads)
    wanted = each * (config.min_workers or config.workers)
    found = int(resources.get(kind, 0))
    if found < wanted:
        say(f"the workers want {wanted} {kind}s and the cluster has {found} now: waiting for more")


def _in_words(config: TrainConfig, error: TrainingFailedError) -> Exception:
    """What the run came to grief on, in one line."""
    causes: list[BaseException] = [error]
    if isinstance(error, WorkerGroupError):
        causes = [*error.worker_failures.values(), error]
    cause = next((one for one in causes if isinstance(one, UserError)), causes[0])
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    line = lines[-1] if lines else type(cause).__name__
    if isinstance(cause, UserError):
        return UserError(line)
    return Refused(
        f"training of {config.name!r} failed and was given up: {line}; the same command resumes "
        "from the last checkpoint"
    )


@contextmanager
def _shown(
    config: TrainConfig, clips: int, board: Any, meanwhile: Callable[[], None]
) -> Iterator[None]:
    """Draw a progress bar from what rank 0 posts, beside the training that blocks this thread."""
    over = threading.Event()
    with progress(f"train {config.name}", config.clips, "clips", start=clips) as bar:

        def draw() -> None:
            last, trouble, head = False, "", True
            while not last:
                last = over.wait(_POLL_S)  # once more: what was said at the end
                there = _head_answers()
                if head and not there:
                    say(
                        "the head of the cluster does not answer: if it does not come back, Ray "
                        f"ends this run; the same command resumes {config.name!r} from the last "
                        "checkpoint"
                    )
                head = there
                try:
                    seen, note, lines = cast(_Read, ray.get(board.read.remote()))
                    for line in lines:
                        say(line)
                    bar.at(max(seen, clips), note or f"starting {config.workers} workers")
                    meanwhile()
                except Exception as error:  # of a store or of MLflow: next time it may be well
                    if str(error) != trouble:
                        trouble = str(error)
                        say(f"beside the training: {type(error).__name__}: {trouble}")

        thread = threading.Thread(target=draw, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def _head_answers() -> bool:
    """Whether the cluster's store of its state takes connections."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_HEAD_S):
            return True
    except OSError:
        return False


@contextmanager
def _known_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
        yield
