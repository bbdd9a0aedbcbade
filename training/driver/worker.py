"""One Ray worker: finds its place, resumes from the newest checkpoint, trains to the end."""

import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.exceptions import RayError

from data_pipeline.cli import errors
from data_pipeline.cli.command import Refused, UserError
from data_pipeline.read.clips import clip_order
from data_pipeline.read.reader import DataSet
from data_pipeline.storage import lake
from data_pipeline.storage.lease import Claim
from mlops.tracking import names
from training.checkpoints import checkpoint, record
from training.checkpoints.checkpoint import Checkpoint, NotWritten
from training.checkpoints.saver import Saver
from training.config.serialisation import config_digest, to_json
from training.config.train_config import TrainConfig, references_of
from training.driver.failures import is_permanent
from training.driver.initial_weights import Weights, weights_of
from training.driver.trainer import train
from training.learn import parallel
from training.learn.adversary import Adversary
from training.learn.filling import reading
from training.learn.loader import Loader
from training.learn.networks import build_adversary
from training.observe.node_metrics import node_metrics
from training.observe.preemption import Preemption
from training.observe.telemetry import Pace, Telemetry
from training.observe.validation import Validation
from training.observe.watchdog import watchdog
from training.planning.flops import matmul_flops, training_flops
from training.planning.footprint import refuse_too_large

SPLIT = names.TRAINING_SPLIT
_REPORT_S = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """A run as every worker gets it from the driver."""

    config: TrainConfig
    """Resolved."""
    run_id: str
    """Id of the MLflow run."""
    commit: str
    """Git commit of the code."""
    claim: Claim
    """The driver's lease on the run."""
    init: str | None = None
    """Pinned URI of the weights to begin with."""
    board: Any = None
    """Handle of a `status_board.Board`."""

    def report(self, lines: str) -> None:
        """Show lines on the terminal of the driver, and write them to Ray's log of this worker."""
        sys.stderr.write(f"{lines}\n")
        ray.get(self.board.report.remote(lines), timeout=_REPORT_S)

    def failed(self, error: Exception) -> None:
        """Report the error that ends this worker; a permanent one ends the run."""
        to = self.board.end if is_permanent(error) else self.board.failed
        with suppress(RayError):  # the node of the board may be lost
            ray.get(to.remote(errors.encode(error)), timeout=_REPORT_S)


@dataclass(frozen=True, slots=True)
class Place:
    """Rank, node and device of a worker."""

    rank: int
    world: int
    node: str
    """Ray's id of its node."""
    neighbours: Mapping[int, int]
    """Rank -> process id of all workers on its node, itself among them."""
    device: torch.device


class _Ended(Exception):  # noqa: N818 (it ends a worker without an error)
    """The run has ended on all ranks; the board has the reason."""


def work(given: dict[str, Any]) -> None:
    """Train from the newest checkpoint to the end; run by Ray Train on every worker. Collective.

    It is run again after every failure.

    Args:
        given: `{"job": Job}`.
    """
    job: Job = given["job"]
    config = job.config
    with _reported(job), ExitStack() as stack:
        torch.set_num_threads(config.worker_threads)
        place = _place()
        rank, world, device = place.rank, place.world, place.device
        watch = stack.enter_context(
            watchdog(config.watchdog_timeout_s, rank, place.neighbours, job.report)
        )
        run_uri = lake.join(str(config.storage), config.name)
        _agree(job, lambda: _refuse_unshared(run_uri))
        data_set = DataSet.open(str(config.data))
        adversary, clips = _resumed(job, place, run_uri, (data_set.height, data_set.width))
        telemetry = None
        if rank == 0:
            pace = _pace(adversary, config, data_set, device, world)
            telemetry = Telemetry(config, job.run_id, job.board, clips=clips, pace=pace)
            stack.enter_context(telemetry)
            telemetry.tags({names.HARDWARE: _hardware(config, device, world)})
        if rank == min(place.neighbours):
            gpu, uri = device.type == "cuda", str(config.tracking_uri)
            stack.enter_context(node_metrics(uri, job.run_id, place.node, watch, gpu=gpu))
        keep = {"newest": config.keep_checkpoints, "every": config.keep_every_clips}
        saver = stack.enter_context(
            Saver(run_uri, **keep, leader=rank == 0, claim=job.claim, report=job.report)
        )
        batches = iter(stack.enter_context(_loader(config, data_set, place, clips)))
        train(
            config,
            adversary,
            batches if telemetry is None else telemetry.profiled(batches),
            clips=clips,
            saver=saver,
            preemption=Preemption(),
            watch=watch,
            state=_state(job, data_set, world),
            validation=Validation(data_set, SPLIT, config, device),
            device=device,
            telemetry=telemetry,
        )


@contextmanager
def _reported(job: Job) -> Iterator[None]:
    """Report to the driver what ends this worker; errors that a restart may cure are raised."""
    try:
        yield
    except _Ended:
        pass
    except (FloatingPointError, NotWritten) as error:  # on all ranks
        _end(job, Refused(f"{job.config.name!r} has stopped: {error}"))
    except Exception as error:
        job.failed(error)
        raise


def _place() -> Place:
    """Place of this worker. Collective."""
    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    node = ray.get_runtime_context().get_node_id()
    rank = parallel.rank()
    ranks = parallel.gathered((node, rank, os.getpid()))
    neighbours = {other: process for there, other, process in ranks if there == node}
    return Place(rank, parallel.world(), node, neighbours, device)


def _resumed(job: Job, place: Place, run_uri: str, size: tuple[int, int]) -> tuple[Adversary, int]:
    """Networks and optimisers of the newest checkpoint, or new ones, and its clips. Collective.

    Raises:
        _Ended: the run cannot be trained here.
    """
    config, here = job.config, len(place.neighbours)
    newest = _newest(job, run_uri, place.rank)
    weights: Weights = {}

    def fetch() -> None:
        if place.rank == 0 and newest is None and job.init is not None:
            weights.update(weights_of(job.init, str(config.tracking_uri)))

    _agree(job, fetch)
    weights = parallel.from_rank_zero(weights)  # one download for all ranks
    remark = parallel.uneven_nodes(config.sharding, parallel.gathered(here))
    if remark and place.rank == 0:
        job.report(remark)
    adversary = build_adversary(config, place.device, here, weights)
    networks = adversary.generator, adversary.discriminator
    _agree(job, lambda: refuse_too_large(*networks, config, size, place.device, here))
    clips = 0
    if newest is not None:
        newest.load(adversary.tensors())
        clips = newest.clips
    adversary.set_iterations(clips // config.batch_clips)
    return adversary, clips


def _loader(config: TrainConfig, data_set: DataSet, place: Place, clips: int) -> Loader:
    """This rank's shares of all batches from a position on."""
    how = config.clip_frames, config.window_shards, references_of(config)
    return Loader(
        data_set,
        SPLIT,
        clip_order(data_set, SPLIT, config.seed, *how),
        batch_clips=config.batch_clips,
        rank=place.rank,
        world=place.world,
        position=clips,
        prefetch_clips=config.prefetch_clips,
        read=reading(config),
    )


def _state(job: Job, data_set: DataSet, world: int) -> dict[str, Any]:
    """JSON values that are written beside the tensors of every checkpoint."""
    return {
        "config": to_json(job.config),
        "config_digest": config_digest(job.config),
        "data_digest": data_set.digest,
        "run_id": job.run_id,
        "commit": job.commit,
        "world": world,
    }


def _pace(
    adversary: Adversary, config: TrainConfig, data_set: DataSet, device: torch.device, world: int
) -> Pace:
    size = config.clip_frames, data_set.height, data_set.width
    trained = adversary.discriminator if config.loss.adversarial else None
    flops = training_flops(adversary.generator, trained, *size)
    peak = matmul_flops(device, torch.bfloat16) if device.type == "cuda" else 0.0
    return Pace(flops, world, peak)


def _hardware(config: TrainConfig, device: torch.device, world: int) -> str:
    """Hardware and versions that bit-equal results depend on, for MLflow."""
    if device.type == "cuda":
        return f"{world} x {torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    kind = torch.backends.cpu.get_cpu_capability()
    threads = f"{config.worker_threads} threads"
    return f"{world} x CPU ({platform.machine()}, {kind}, {threads}), torch {torch.__version__}"


def _agree(job: Job, check: Callable[[], None]) -> None:
    """Run a check on every rank; a UserError on one ends the run, without a restart. Collective.

    Raises:
        _Ended: the check failed on a rank; the board has the error.
    """
    problem = None
    try:
        check()
    except UserError as error:
        problem = errors.encode(error)
    problems = [one for one in parallel.gathered(problem) if one is not None]
    if problems:
        _end(job, errors.decode(problems[0]))
        raise _Ended


def _end(job: Job, error: Exception) -> None:
    if parallel.rank() == 0:
        ray.get(job.board.end.remote(errors.encode(error)))


def _refuse_unshared(run_uri: str) -> None:
    """Refuse storage where this node does not see the record that the driver wrote.

    Raises:
        UserError: it is not there.
    """
    if record.read(run_uri) is None:
        raise UserError(
            f"storage {run_uri} is not shared: node {socket.gethostname()} does not see "
            f"{record.FILE} there; give a folder that all nodes have in common, or s3://"
        )


def _newest(job: Job, run_uri: str, rank: int) -> Checkpoint | None:
    """The newest good checkpoint, the same on all ranks; None = a new run. Collective."""
    uri = None
    if rank == 0:
        found, skipped = checkpoint.newest(run_uri)
        for line in skipped:
            job.report(f"checkpoint skipped: {line}")
        uri = found.uri if found else ""
    uri = parallel.from_rank_zero(uri)
    return checkpoint.opened(uri) if uri else None
