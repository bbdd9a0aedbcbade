"""Any checkpoint becomes a registered version: its averaged generator, once."""

from importlib.metadata import distribution

from data_pipeline.cli.command import UserError, say
from data_pipeline.read.reader import DataSet
from mlops.tracking import connection, names, registry, runs
from mlops.tracking.registry import Version
from training.checkpoints.checkpoint import Checkpoint
from training.checkpoints.unsharded import networks_sha256, whole_networks
from training.config.train_config import TrainConfig
from training.registration.model_folder import PROJECT, model_folder

_SHORT = 12  # characters of a digest in a message


def export(
    checkpoint: Checkpoint,
    config: TrainConfig,
    *,
    tracking_uri: str,
    commit: str,
    model: str,
    frame_size: tuple[int, int] | None = None,
) -> Version:
    """Register the averaged generator of a checkpoint, once, and point `candidate` at it.

    The MLflow run may be deleted or gone. `frame_size` is (width, height) in pixels; None = that of
    the data set of the config.

    Raises:
        UserError: the data set is not there, or the checkpoint is damaged.
    """
    state, clips = checkpoint.state(), checkpoint.clips
    connection.local_store_ready(tracking_uri)
    run_id, lost = _run_of(tracking_uri, state["run_id"], config.name)
    identity = {names.RUN_ID: run_id, names.CLIPS: str(clips)}
    found = registry.find(tracking_uri, model, identity)
    if found is None:
        size = frame_size or frame_size_of(str(config.data))
        with checkpoint.checked() as here:
            tensors = whole_networks(here, config)
        averaged = {
            name.removeprefix("ema."): tensor
            for name, tensor in tensors.items()
            if name.startswith("ema.")
        }
        licence = distribution(PROJECT).metadata["License-Expression"]
        with model_folder(averaged, config.generator, *size, licence) as (folder, code):
            found = registry.register(
                tracking_uri,
                name=model,
                run_id=run_id,
                clips=clips,
                model_dir=folder,
                tags={
                    names.RUN_NAME: config.name,
                    names.DATA_URI: str(config.data),
                    names.DATA_DIGEST: state["data_digest"],
                    names.CONFIG_DIGEST: state["config_digest"],
                    names.COMMIT: commit,
                    names.CODE_DIGEST: code,
                    names.WEIGHTS_SHA256: networks_sha256(tensors),
                    names.CHECKPOINT: checkpoint.uri,
                    **lost,
                },
            )
    if lost:
        runs.finish(tracking_uri, run_id)
    registry.offer(tracking_uri, found)
    return found


def _run_of(tracking_uri: str, run_id: str, name: str) -> tuple[str, dict[str, str]]:
    """The MLflow run to register for, and tags where it is one in place of the training's.

    A version needs a run that is there; for weights whose run is deleted or gone it is one of their
    own, always the same.
    """
    _, trouble = runs.seen(tracking_uri, run_id)
    if trouble is None:
        return run_id, {}
    lost = {names.LOST_RUN: run_id}
    kind = {names.KIND: names.KIND_EXPORT}
    known = [runs.find(tracking_uri, {**kind, **lost}, finished=one) for one in (True, False)]
    instead = next(filter(None, known), None) or runs.ensure(
        tracking_uri, run_name=f"export-{name}", kind=names.KIND_EXPORT, tags=lost
    )
    say(f"{trouble}. Registered for run {instead} instead, which names it as {names.LOST_RUN}")
    return instead, lost


def frame_size_of(data_uri: str, digest: str = "") -> tuple[int, int]:
    """(width, height) of the frames of a data set, pixels; one that has the digest, if given."""
    try:
        data_set = DataSet.open(data_uri)
    except UserError as error:
        raise UserError(
            f"{error}; or give --data with the place that its data set has now, or "
            "--frame-size WIDTH HEIGHT where it is gone"
        ) from error
    if digest and data_set.digest != digest:
        raise UserError(
            f"--data {data_uri} has digest {data_set.digest[:_SHORT]}, and the checkpoint was "
            f"trained on {digest[:_SHORT]}: give that one, or --frame-size WIDTH HEIGHT where it "
            "is gone"
        )
    return data_set.width, data_set.height
