"""What the driver does: open the run, start the workers, register what they learnt."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from mlflow.exceptions import MlflowException

from data_pipeline import lake
from data_pipeline.clips import clip_order
from data_pipeline.door import Refused, UserError, say
from data_pipeline.lease import lease
from data_pipeline.provenance import commit
from data_pipeline.reader import DataSet
from mlops import names, runs, tracking
from mlops.registry import Version
from training import checkpoint, journals, record, start
from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.config_json import config_digest, learnt_fields, to_json
from training.export import export, learnt_sha256, whole_networks
from training.model.generator import check_size
from training.record import Record
from training.worker import SPLIT, Job
from training.workers import refuse_missing_gpus, run_workers

_IMAGE = "STTN_IMAGE"  # set in the container image, its name and digest
_LEASE_S = 60.0  # a store may be silent that long; a dead run on another host is waited for so long


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    checkpoint: Checkpoint
    version: Version
    weights_sha256: str


def launch(config: TrainConfig) -> Outcome:
    """Train a run to `config.clips`, or go on with it, and register the result.

    Args:
        config: resolved.

    Raises:
        UserError: the data set does not fit, GPUs are missing, or the run was begun otherwise.
        Refused: the workers failed more often than allowed, or somebody else trains this run.
    """
    refuse_missing_gpus(config)
    data_set = _checked_data(config)
    assert config.tracking_uri is not None
    tracking.impatient()
    run_uri = lake.join(str(config.storage), config.name)
    with lease(lake.join(run_uri, "lease"), what=f"run {config.name!r}", seconds=_LEASE_S) as held:
        begun = _open_run(config, run_uri, data_set)
        with _ended(config.tracking_uri, begun.run_id):
            reached = _reached(run_uri)
            if reached is None or reached.clips < config.clips:
                job = Job(to_json(config), begun.run_id, commit(), held.claim(), begun.init)
                registering = Registering(config, run_uri)
                run_workers(config, job, reached.clips if reached else 0, registering.look)
                reached = _reached(run_uri)
            assert reached is not None
            if reached.clips > config.clips:
                say(f"{config.name} has seen {reached.clips} clips already, {config.clips} asked")
            held.check()
            journals.replay(config.tracking_uri, begun.run_id)
            version = _registered(reached, config)
            sha256 = learnt_sha256(whole_networks(reached, config))
    return Outcome(reached, version, sha256)


class Registering:
    """Registers checkpoints while the run goes on, every so many clips."""

    def __init__(self, config: TrainConfig, run_uri: str) -> None:
        self._config, self._run_uri = config, run_uri
        self._seen = self._newest()

    def look(self) -> None:
        """Register the newest checkpoint when it is time; what fails is said and tried again."""
        every = self._config.register_every_clips
        if not every:
            return
        newest = self._newest()
        if newest // every == self._seen // every:
            return
        uri = checkpoint.checkpoint_uri(self._run_uri, newest)
        try:
            version = _export(checkpoint.opened(uri), self._config)
        except (UserError, Refused, MlflowException, OSError) as error:
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
    try:
        return _export(reached, config)
    except MlflowException as error:
        raise Refused(
            f"{config.name} has learnt from {reached.clips} clips, but MLflow at "
            f"{config.tracking_uri} does not answer ({_line(error)}): when it does, register by "
            f"python training/export.py {reached.uri}"
        ) from error


@contextmanager
def _ended(tracking_uri: str, run_id: str) -> Iterator[None]:
    """End the MLflow run as what happens in the block says, if MLflow is there to be told."""
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    finally:
        with suppress(MlflowException):
            runs.finish(tracking_uri, run_id, status)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]


def _checked_data(config: TrainConfig) -> DataSet:
    data_set = DataSet.open(str(config.data))
    shape = config.generator
    try:
        check_size(data_set.height, data_set.width, shape.grids, shape.patch_sizes)
    except ValueError as error:
        raise UserError(f"data set {config.data}: {error}") from error
    # Refuses a data set that has nothing to learn from, or videos shorter than a clip.
    clip_order(data_set, SPLIT, config.seed, config.clip_frames, config.window_shards)
    return data_set


def _open_run(config: TrainConfig, run_uri: str, data_set: DataSet) -> Record:
    """The record of this run, made once; its MLflow run is going on then."""
    uri = str(config.tracking_uri)
    begun = record.read(run_uri)
    if begun is not None:
        record.refuse_another(begun, config, data_set.digest)
    silent = tracking.answers(uri)
    if silent and (begun is None or config.require_tracking):
        raise UserError(
            f"MLflow at {uri} does not answer ({silent[:200]}): start it, or give another "
            "--tracking-uri"
        )
    if silent:
        assert begun is not None
        say(f"MLflow at {uri} does not answer ({silent[:200]}): lines are kept until it does")
        return begun
    tags = {
        names.RUN_NAME: config.name,
        names.COMMIT: commit(),
        names.CONFIG_DIGEST: config_digest(config),
    }
    if os.environ.get(_IMAGE):
        tags[names.IMAGE] = os.environ[_IMAGE]
    if begun is not None:
        try:
            runs.ensure(
                uri, run_name=config.name, kind=names.KIND_TRAINING, tags=tags, run_id=begun.run_id
            )
        except MlflowException as error:
            raise UserError(
                f"run {config.name!r} belongs to MLflow run {begun.run_id}, which {uri} does not "
                "have: give the --tracking-uri it was begun with, or another --name"
            ) from error
        if begun.data_digest != data_set.digest:
            say(f"{config.name} goes on with another data set: {config.data}")
        _log_what_is_learnt(config, begun, data_set)
        return begun
    init = start.pinned(config.init, uri) if config.init else None
    if init is not None:
        start.refuse_unfit(init, start.weights_of(init, uri), config)
    begun = Record(
        run_id=runs.ensure(uri, run_name=config.name, kind=names.KIND_TRAINING, tags=tags),
        learnt=learnt_fields(config),
        data_digest=data_set.digest,
        init=init,
    )
    record.create(run_uri, begun)
    _log_what_is_learnt(config, begun, data_set)
    return begun


def _log_what_is_learnt(config: TrainConfig, begun: Record, data_set: DataSet) -> None:
    """Parameters and data set of the run, where MLflow does not have them yet."""
    uri = str(config.tracking_uri)
    runs.log_params(uri, begun.run_id, record.flat(to_json(config)))
    if runs.tags_of(uri, begun.run_id).get(names.DATA_DIGEST) != data_set.digest:
        runs.log_data_set(uri, begun.run_id, str(config.data), data_set.digest, "training")


def _reached(run_uri: str) -> Checkpoint | None:
    found, passed_over = checkpoint.newest(run_uri)
    for line in passed_over:
        say(f"checkpoint passed over: {line}")
    return found
