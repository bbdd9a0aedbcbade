"""Starts the workers of a run by Ray Train, shows their progress, and reports why they failed."""

import os
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, cast

import ray
import torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.config import ScalingConfig  # `ray.train` types it as version 1
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

from data_pipeline.cli import errors
from data_pipeline.cli.command import Refused, UserError, say
from data_pipeline.cli.progress import progress
from data_pipeline.cli.ray_session import actor_beside_driver, ray_session
from data_pipeline.storage import lake
from training.config.train_config import TrainConfig
from training.driver.failures import Ending
from training.driver.worker import Job, work
from training.observe.status_board import Board

RESIZE_S = 30.0  # between checks whether more workers are available
_POLL_S = 1.0
_HEAD_S = 2.0  # to answer; Ray ends this process silently when the head is away for long
_HURRY_S = 5.0  # for a last look at the board, when the run is interrupted
_FAILURE = "failure.txt"  # beside the checkpoints
_Read = tuple[int, str, list[str]]


def run_workers(
    config: TrainConfig, job: Job, clips: int, meanwhile: Callable[[int], None]
) -> None:
    """Start the workers, which train from `clips` to `config.clips`, and wait for them.

    Args:
        config: resolved.
        job: the run, for every worker.
        clips: seen already; for the progress bar.
        meanwhile: called about once a second, in a thread, with the clips seen.

    Raises:
        UserError: a worker found that this run is not possible.
        Refused: the workers failed more often than allowed.
    """
    with ray_session(cpus=config.workers * config.worker_threads), _known_warnings():
        _say_what_is_missing(config)
        board = actor_beside_driver(Board)
        trainer = _Trainer(
            work,
            train_loop_config={"job": replace(job, board=board)},
            torch_config=TorchConfig(backend="gloo" if config.device == "cpu" else "nccl"),
            scaling_config=_scaling(config),
            # Checkpoints and metrics are ours; Ray keeps only its own bookkeeping here.
            run_config=RunConfig(
                name="ray",
                storage_path=lake.join(str(config.storage), config.name),
                failure_config=FailureConfig(max_failures=config.max_restarts),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
                callbacks=[Ending(board)],  # type: ignore[list-item]  # typed as version 1 too
            ),
        )
        with _shown(config, clips, board, meanwhile):
            try:
                trainer.fit()
            except TrainingFailedError as error:
                if ended := ray.get(board.ended.remote()):
                    raise errors.decode(ended) from None
                raise _failed(config, error, ray.get(board.first_failure.remote())) from error
        if ended := ray.get(board.ended.remote()):
            raise errors.decode(ended)


class _Trainer(TorchTrainer):
    """Leaves Ctrl-C to the command, which ends as by any other signal."""

    def _register_sigint_handler(self, controller: object) -> None:
        """Ray Train would end this process without a line, with an exit code of its own."""


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
    """Refuse more GPUs than this machine has; a cluster may grow.

    Raises:
        UserError: this machine has too few, and no cluster was named.
    """
    wanted = config.min_workers or config.workers or 1
    if config.device != "cuda" or os.environ.get("RAY_ADDRESS") or ray.is_initialized():
        return
    found = torch.cuda.device_count()
    if found < wanted:
        fewer = f"--workers {found}, " if found else ""
        raise UserError(
            f"{wanted} workers want a GPU each and this machine has {found}: use {fewer}"
            "--device cpu, or a cluster (RAY_ADDRESS)"
        )


def _say_what_is_missing(config: TrainConfig) -> None:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    kind, each = ("GPU", 1) if config.device == "cuda" else ("CPU", config.worker_threads)
    wanted = each * (config.min_workers or config.workers)
    found = int(resources.get(kind, 0))
    if found < wanted:
        say(f"the workers want {wanted} {kind}s and the cluster has {found} now: waiting for more")


def _failed(config: TrainConfig, error: TrainingFailedError, first: str) -> Refused:
    """The error that ended the run, in one line; the first traceback is kept beside the run."""
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    cause = next(iter(failures), error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    why = lines[-1] if lines else type(cause).__name__
    if first:
        failure = errors.decode(first)
        uri = lake.join(str(config.storage), config.name, _FAILURE)
        text = "\n".join([str(failure), *getattr(failure, "__notes__", ())])
        with suppress(UserError, Refused):
            lake.write_bytes(uri, f"{text}\n".encode())
            why = f"{failure}; {uri} has its traceback"
    return Refused(
        f"training of {config.name!r} failed and was given up: {why}; the same command resumes "
        "from the last checkpoint"
    )


@contextmanager
def _shown(
    config: TrainConfig, clips: int, board: Any, meanwhile: Callable[[int], None]
) -> Iterator[None]:
    """Draw a progress bar from what rank 0 posts, beside the training that blocks this thread."""
    over, interrupted = threading.Event(), threading.Event()
    with progress(f"train {config.name}", config.clips, "clips", start=clips) as bar:

        def draw() -> None:
            last, trouble, head = False, "", True
            while not last:
                last = over.wait(_POLL_S)  # once more, for the last lines
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
                    if not interrupted.is_set():
                        meanwhile(seen)
                except Exception as error:  # of a store or of MLflow: the next look may succeed
                    if str(error) != trouble:
                        trouble = str(error)
                        say(f"during training: {type(error).__name__}: {trouble}")

        thread = threading.Thread(target=draw, name="progress", daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            interrupted.set()
            raise
        finally:
            over.set()
            thread.join(_HURRY_S if interrupted.is_set() else None)


def _head_answers() -> bool:
    """True while the cluster's store of its state (GCS) takes connections."""
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
