"""The driver: opens the run, starts the workers, registers the trained model."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from data_pipeline.cli import ray_session
from data_pipeline.cli.command import Refused, UserError, say
from data_pipeline.format.provenance import commit
from data_pipeline.read.clips import clip_order
from data_pipeline.read.reader import DataSet
from data_pipeline.storage import lake
from data_pipeline.storage.lease import lease
from data_pipeline.tracking import client_timeouts
from data_pipeline.tracking.store_errors import Gone, StoreError, Unreachable, translated
from mlops.tracking import connection, names, runs
from mlops.tracking.registry import Version
from training.checkpoints import checkpoint, record
from training.checkpoints.checkpoint import Checkpoint
from training.checkpoints.record import Record
from training.config.serialisation import config_digest, to_json, trained_fields
from training.config.train_config import TrainConfig, is_open, references_of
from training.driver import initial_weights
from training.driver.seen import seen
from training.driver.worker import SPLIT, Job
from training.driver.workers import refuse_missing_gpus, run_workers
from training.model.generator import check_size
from training.observe import journals
from training.observe.validation import remark
from training.planning.auto import resolved
from training.registration.from_checkpoint import export

_IMAGE = "STTN_IMAGE"  # set in the container image, its name and digest
_LEASE_S = 60.0  # a store may be silent that long; a dead run on another host is waited for so long


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run."""

    checkpoint: Checkpoint
    version: Version


def launch(config: TrainConfig) -> Outcome:
    """Train a run to `config.clips`, or resume it, and register the result.

    Args:
        config: its paths absolute; what it leaves to the hardware is filled here.

    Raises:
        UserError: the data set does not fit, GPUs are missing, or the run has another config.
        Refused: the workers failed more often than allowed, or another driver trains this run.
    """
    refuse_missing_gpus(config)
    ray_session.check()
    data_set = _checked_data(config)
    client_timeouts.shorten()
    run_uri = lake.join(str(config.storage), config.name)
    config, tracking_uri = _filled(config, run_uri, data_set), str(config.tracking_uri)
    with lease(lake.join(run_uri, "lease"), what=f"run {config.name!r}", seconds=_LEASE_S) as held:
        begun = _open_run(config, run_uri, data_set)
        with _ended(tracking_uri, begun.run_id):
            reached = _reached(run_uri)
            if reached is None or reached.clips < config.clips:
                job = Job(config, begun.run_id, commit(), held.claim(), begun.init)
                registering = Registering(config, run_uri)
                run_workers(config, job, reached.clips if reached else 0, registering.look)
                reached = checkpoint.opened(checkpoint.checkpoint_uri(run_uri, config.clips))
            if reached.clips > config.clips:
                say(f"{config.name} has seen {reached.clips} clips; {config.clips} were requested")
            held.check()
            journals.replay(tracking_uri, begun.run_id)
            version = _registered(reached, config)
    return Outcome(reached, version)


def _filled(config: TrainConfig, run_uri: str, data_set: DataSet) -> TrainConfig:
    """Fill what the config leaves to the hardware; a run that began keeps its precision."""
    if not is_open(config):
        return config
    begun = record.read(run_uri)
    if config.precision == "auto" and begun is not None:
        config = replace(config, precision=begun.trained["precision"])
    config, choices = resolved(config, seen(), (data_set.height, data_set.width))
    for choice in choices:
        say(str(choice))
    return config


class Registering:
    """Registers checkpoints during training, at an interval in clips."""

    def __init__(self, config: TrainConfig, run_uri: str) -> None:
        self._config, self._run_uri = config, run_uri
        self._seen = self._newest()

    def look(self, clips: int) -> None:
        """Register the newest checkpoint when it is time; a failure is reported and retried.

        Args:
            clips: seen by the workers; storage is listed only after they pass a multiple.
        """
        every = self._config.register_every_clips
        if not every or clips // every <= self._seen // every:
            return
        newest = self._newest()
        if newest // every == self._seen // every:
            return
        uri = checkpoint.checkpoint_uri(self._run_uri, newest)
        try:
            with translated(str(self._config.tracking_uri)):
                version = _export(checkpoint.opened(uri), self._config)
        except (UserError, Refused, OSError) as error:
            say(f"checkpoint at {newest} clips was not registered: {error}")
            return
        say(f"{newest} clips: registered as {version.uri} (@{names.CANDIDATE})")
        self._seen = newest

    def _newest(self) -> int:
        return max(checkpoint.complete(self._run_uri), default=0)


def _export(reached: Checkpoint, config: TrainConfig) -> Version:
    return export(
        reached,
        config,
        tracking_uri=str(config.tracking_uri),
        commit=reached.state()["commit"],
        model=names.MODEL,
    )


def _registered(reached: Checkpoint, config: TrainConfig) -> Version:
    uri = str(config.tracking_uri)
    try:
        with translated(uri):
            return _export(reached, config)
    except StoreError as error:
        raise Refused(
            f"{config.name} has been trained on {reached.clips} clips, but is not registered: "
            f"{error}. Then register by python training/export.py {reached.uri}"
        ) from error


@contextmanager
def _ended(tracking_uri: str, run_id: str) -> Iterator[None]:
    """End the MLflow run with the status of the block, if MLflow answers."""
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        with suppress(StoreError), translated(tracking_uri):
            runs.finish(tracking_uri, run_id, status)


def _checked_data(config: TrainConfig) -> DataSet:
    data_set = DataSet.open(str(config.data))
    shape = config.generator
    try:
        check_size(data_set.height, data_set.width, shape.grids, shape.patch_sizes)
    except ValueError as error:
        raise UserError(f"data set {config.data}: {error}") from error
    # Refuses a data set that has nothing to train on, or videos shorter than a clip.
    clip_order(
        data_set,
        SPLIT,
        config.seed,
        config.clip_frames,
        config.window_shards,
        references_of(config),
    )
    if said := remark(data_set):
        say(said)
    return data_set


def _open_run(config: TrainConfig, run_uri: str, data_set: DataSet) -> Record:
    """The record of this run, written once; its MLflow run is running afterwards.

    Raises:
        UserError: it was begun with another config, or MLflow lacks what this run needs to its end.
    """
    uri = str(config.tracking_uri)
    begun = record.read(run_uri)
    if begun is None:
        with translated(uri):
            return _begin(config, run_uri, data_set)
    record.refuse_another(begun, config, data_set.digest)
    try:
        with translated(uri):
            _resume(config, begun, data_set)
    except Unreachable as error:
        if config.require_tracking:
            raise
        say(f"{error}; training continues, and its metrics are buffered until then")
    return begun


def _begin(config: TrainConfig, run_uri: str, data_set: DataSet) -> Record:
    """Begin a run: in MLflow first, then beside its checkpoints."""
    uri = str(config.tracking_uri)
    connection.usable(uri)
    init = initial_weights.pinned(config.init, uri) if config.init else None
    if init is not None:
        initial_weights.refuse_unfit(init, initial_weights.weights_of(init, uri), config)
    tags = _tags(config)
    begun = Record(
        run_id=runs.ensure(uri, run_name=config.name, kind=names.KIND_TRAINING, tags=tags),
        trained=trained_fields(config),
        data_digest=data_set.digest,
        init=init,
    )
    try:
        _log_inputs(config, begun, data_set)
        record.create(run_uri, begun)
    except BaseException:
        with suppress(StoreError), translated(uri):
            runs.finish(uri, begun.run_id, "FAILED")
        raise
    return begun


def _resume(config: TrainConfig, begun: Record, data_set: DataSet) -> None:
    """Resume the MLflow run of a run that was begun before."""
    uri = str(config.tracking_uri)
    try:
        runs.get(uri, begun.run_id)
    except Gone as error:
        raise Gone(
            f"run {config.name!r} belongs to MLflow run {begun.run_id}, and {error}. Give the "
            "--tracking-uri it was begun with, or another --name with --init and its checkpoint"
        ) from error
    connection.usable(uri)
    kind, tags = names.KIND_TRAINING, _tags(config)
    runs.ensure(uri, run_name=config.name, kind=kind, tags=tags, run_id=begun.run_id)
    if begun.data_digest != data_set.digest:
        say(f"{config.name} resumes with another data set: {config.data}")
    _log_inputs(config, begun, data_set)


def _tags(config: TrainConfig) -> dict[str, str]:
    tags = {
        names.RUN_NAME: config.name,
        names.COMMIT: commit(),
        names.CONFIG_DIGEST: config_digest(config),
    }
    if os.environ.get(_IMAGE):
        tags[names.IMAGE] = os.environ[_IMAGE]
    return tags


def _log_inputs(config: TrainConfig, begun: Record, data_set: DataSet) -> None:
    """Config and data set of the run, where MLflow does not have them yet.

    The config is a file as well: versions go to the same place later, so it must take files now.
    """
    uri = str(config.tracking_uri)
    resolved = to_json(config)
    runs.log_params(uri, begun.run_id, record.flat(resolved))
    runs.log_json(uri, begun.run_id, names.CONFIG_JSON, resolved)
    if runs.tags_of(uri, begun.run_id).get(names.DATA_DIGEST) != data_set.digest:
        runs.log_data_set(uri, begun.run_id, str(config.data), data_set.digest, "training")


def _reached(run_uri: str) -> Checkpoint | None:
    found, skipped = checkpoint.newest(run_uri)
    for line in skipped:
        say(f"checkpoint skipped: {line}")
    return found
