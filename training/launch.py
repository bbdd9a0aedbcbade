"""What the driver does: open the run, start the workers, register what they learnt."""

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import ray
from mlflow.exceptions import MlflowException
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from data_pipeline import lake
from data_pipeline.canonical import canonical_json
from data_pipeline.clips import clip_order
from data_pipeline.door import Refused, UserError, say
from data_pipeline.progress import progress
from data_pipeline.provenance import commit
from data_pipeline.reader import DataSet
from data_pipeline.session import ray_session
from mlops import names, tracking
from mlops.registry import Version
from training import checkpoint
from training.checkpoint import Checkpoint
from training.config import TrainConfig
from training.config_json import config_digest, learnt_fields, migrated, to_json
from training.export import export, learnt_sha256, whole_networks
from training.model.generator import check_size
from training.telemetry import Board
from training.worker import SPLIT, work

SCHEMA = 1  # of run.json
RUN_FILE = "run.json"
_POLL_S = 1.0


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
        UserError: the data set does not fit, or the run was begun otherwise.
        Refused: the workers failed more often than allowed.
    """
    data_set = _checked_data(config)
    assert config.tracking_uri is not None
    run_uri = lake.join(str(config.storage), config.name)
    tracking.local_store_ready(config.tracking_uri)
    run_id = _open_run(config, run_uri, data_set)
    reached = _reached(run_uri)
    try:
        if reached is None or reached.clips < config.clips:
            _train(config, run_id, reached.clips if reached else 0)
            reached = _reached(run_uri)
        assert reached is not None
        if reached.clips > config.clips:
            say(f"{config.name} has seen {reached.clips} clips already, {config.clips} asked")
        version = export(
            reached,
            config,
            tracking_uri=config.tracking_uri,
            commit=reached.state()["commit"],
            model=names.MODEL,
        )
        sha256 = learnt_sha256(whole_networks(reached, config))
    except BaseException:
        tracking.finish(config.tracking_uri, run_id, "FAILED")
        raise
    tracking.finish(config.tracking_uri, run_id)
    return Outcome(reached, version, sha256)


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


def _open_run(config: TrainConfig, run_uri: str, data_set: DataSet) -> str:
    """The MLflow run id of this run, made once and kept beside its checkpoints."""
    uri = str(config.tracking_uri)
    file = lake.join(run_uri, RUN_FILE)
    tags = {
        names.RUN_NAME: config.name,
        names.COMMIT: commit(),
        names.CONFIG_DIGEST: config_digest(config),
    }
    if lake.exists(file):
        begun = json.loads(lake.read_bytes(file))
        _refuse_another(begun, config, data_set)
        run_id = str(begun["run_id"])
        try:
            return tracking.ensure_run(
                uri, run_name=config.name, kind=names.KIND_TRAINING, tags=tags, run_id=run_id
            )
        except MlflowException as error:
            raise UserError(
                f"{file} belongs to MLflow run {run_id}, which {uri} does not have: give the "
                "--tracking-uri it was begun with, or another --name"
            ) from error
    run_id = tracking.ensure_run(uri, run_name=config.name, kind=names.KIND_TRAINING, tags=tags)
    document = {
        "schema": SCHEMA,
        "run_id": run_id,
        "learnt": learnt_fields(config),
        "data_digest": data_set.digest,
    }
    lake.create_bytes(file, canonical_json(document))
    tracking.log_params(uri, run_id, _flat(to_json(config)))
    tracking.log_data_set(uri, run_id, str(config.data), data_set.digest, "training")
    return run_id


def _refuse_another(begun: dict[str, Any], config: TrainConfig, data_set: DataSet) -> None:
    """A resumed run must learn the same thing from the same data."""
    before = _flat(migrated(begun["learnt"], begun["schema"]))
    now = _flat(learnt_fields(config))
    changed = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if begun["data_digest"] != data_set.digest:
        changed.append(f"data digest was {begun['data_digest'][:12]}, is {data_set.digest[:12]}")
    if changed:
        raise UserError(
            f"run {config.name!r} was begun otherwise ({'; '.join(changed)}): give the values it "
            "was begun with, or another --name"
        )


def _reached(run_uri: str) -> Checkpoint | None:
    found, passed_over = checkpoint.newest(run_uri)
    for line in passed_over:
        say(f"checkpoint passed over: {line}")
    return found


def _train(config: TrainConfig, run_id: str, clips: int) -> None:
    """Run the workers to the end of the run."""
    with ray_session(cpus=config.workers), _known_warnings():
        board = ray.remote(num_cpus=0)(Board).remote()
        trainer = TorchTrainer(
            work,
            train_loop_config={
                "config": to_json(config),
                "run_id": run_id,
                "board": board,
                "commit": commit(),
            },
            torch_config=TorchConfig(backend="gloo" if config.device == "cpu" else "nccl"),
            scaling_config=ScalingConfig(
                num_workers=config.workers,
                use_gpu=config.device == "cuda",
                resources_per_worker={"CPU": config.worker_threads}
                | ({"GPU": 1} if config.device == "cuda" else {}),
            ),
            # Checkpoints and metrics are ours; Ray keeps only its own bookkeeping here.
            run_config=RunConfig(
                name="ray",
                storage_path=lake.join(str(config.storage), config.name),
                failure_config=FailureConfig(max_failures=config.worker_failures),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
            ),
        )
        with _shown(config, clips, board):
            try:
                trainer.fit()
            except TrainingFailedError as error:
                raise Refused(
                    f"training of {config.name!r} failed and was given up: {_reason(error)}; "
                    "the same command resumes from the last checkpoint"
                ) from error


def _reason(error: BaseException) -> str:
    """The last line of what a worker said before it died."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def _shown(config: TrainConfig, clips: int, board: Any) -> Iterator[None]:
    """Draw a progress bar from what rank 0 posts, beside the training that blocks this thread."""
    over = threading.Event()
    with progress(f"train {config.name}", config.clips, "clips", start=clips) as bar:

        def draw() -> None:
            while not over.wait(_POLL_S):
                seen, note = cast(tuple[int, str], ray.get(board.read.remote()))
                bar.at(max(seen, clips), note or f"starting {config.workers} workers")

        thread = threading.Thread(target=draw, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextmanager
def _known_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")
        yield


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat
