"""Runs of MLflow: found or made, and what is written to them.

The run id is always said: no function here uses MLflow's "active run".
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.storage import lake
from data_pipeline.tracking.store_errors import Deleted, Gone, StoreError
from mlops.tracking import names
from mlops.tracking.connection import (
    absolute_uri,
    client,
    deleted_experiment,
    experiment_id,
    experiment_or_none,
    restoring,
    user_name,
)

_LONGEST_PARAM = 6000  # characters, MLflow's limit for the value of one parameter
_PARAMS_PER_BATCH = 100  # MLflow's limit
_METRICS_PER_BATCH = 1000  # likewise
# What MLflow says of an id that it does not know, and of one that cannot be any.
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_DIGEST_CHARACTERS = 32  # MLflow allows 36; the full digest is a tag of the run


def ensure(
    uri: str,
    *,
    run_name: str,
    kind: str,
    tags: Mapping[str, str],
    run_id: str | None = None,
) -> str:
    """Create a run, or resume the one with this id, and return its id.

    Args:
        uri: tracking URI.
        run_name: name shown in the list of runs.
        kind: `names.KIND_TRAINING` or another `KIND_`.
        tags: further tags; on an existing run they are overwritten.
        run_id: id of an existing run, which then runs again.

    Raises:
        Deleted: the run with this id, or the experiment, is.
        Gone: there is no run with this id in the store.
    """
    all_tags = {names.KIND: kind, "mlflow.user": user_name(), **tags}
    if run_id is None:
        experiment = experiment_id(uri)
        run = client(uri).create_run(experiment, run_name=run_name, tags=all_tags)
        return str(run.info.run_id)
    get(uri, run_id)
    client(uri).update_run(run_id, status="RUNNING", name=run_name)
    set_tags(uri, run_id, all_tags)
    return run_id


def get(uri: str, run_id: str) -> Run:
    """A run that is there.

    Raises:
        Deleted: it is marked as deleted, alone or with its experiment; says how to restore it.
        Gone: there is no such run in this store.
    """
    found, trouble = seen(uri, run_id)
    if trouble is not None:
        raise trouble
    assert found is not None
    return found


def seen(uri: str, run_id: str) -> tuple[Run | None, StoreError | None]:
    """Read a run that may be deleted or gone, with the error that `get` would raise for that."""
    where = f"MLflow at {absolute_uri(uri)}"
    if not run_id:
        return None, Gone(f"no run of {where} is named")
    try:
        found = client(uri).get_run(run_id)
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        return None, Gone(
            f"{where} has no run {run_id}: it was deleted for good, or this is not the "
            "--tracking-uri that it was written to"
        )
    if found.info.lifecycle_stage != LifecycleStage.DELETED:
        return found, None
    experiment = client(uri).get_experiment(found.info.experiment_id)
    if experiment.lifecycle_stage == LifecycleStage.DELETED:
        return found, deleted_experiment(uri, experiment.name, experiment.experiment_id)
    command = restoring(uri, f"runs restore --run-id {run_id}")
    return found, Deleted(f"run {run_id} is deleted in {where}: restore it by {command}")


def find(uri: str, tags: Mapping[str, str], *, finished: bool) -> str | None:
    """Id of the newest run that carries all these tags.

    Args:
        uri: tracking URI.
        tags: all must be equal.
        finished: True for runs that ended well; False for those that did not and can be resumed.
    """
    runs = find_all(uri, tags, finished=finished, limit=1)
    return str(runs[0].info.run_id) if runs else None


def find_all(
    uri: str, tags: Mapping[str, str], *, finished: bool, limit: int, deleted: bool = False
) -> list[Run]:
    """The runs that carry all these tags, the newest first.

    Args:
        uri: tracking URI.
        tags: as of `find`.
        finished: likewise.
        limit: number of runs.
        deleted: those too that are marked as deleted.

    Raises:
        Deleted: the experiment is, with all its runs.
        Gone: there is no such store.
    """
    experiment = experiment_or_none(uri)
    if experiment is None:
        return []
    terms = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
    terms.append(
        "attributes.status = 'FINISHED'" if finished else "attributes.status != 'FINISHED'"
    )
    order = ["attributes.start_time DESC"]
    query = " and ".join(terms)
    which = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    return list(client(uri).search_runs([experiment], query, which, limit, order))


def set_tags(uri: str, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run, all in one request."""
    client(uri).log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])


def tags_of(uri: str, run_id: str) -> dict[str, str]:
    """All tags of a run; errors as `get`."""
    return dict(get(uri, run_id).data.tags)


@dataclass(frozen=True, slots=True)
class Point:
    """Scalars of one moment."""

    clips: int
    """Clips seen."""
    time_ms: int
    """Since 1970."""
    values: Mapping[str, float]
    """Name -> value."""


def log_scalars(uri: str, run_id: str, clips: int, values: Mapping[str, float]) -> None:
    """Log scalars at a number of clips seen, now."""
    log_points(uri, run_id, [Point(clips, time.time_ns() // 10**6, values)])


def log_points(uri: str, run_id: str, points: Sequence[Point]) -> None:
    """Log scalars in as few requests as there can be (each costs 30-100 ms)."""
    metrics = [
        Metric(key, float(value), point.time_ms, point.clips)
        for point in points
        for key, value in point.values.items()
    ]
    for start in range(0, len(metrics), _METRICS_PER_BATCH):
        client(uri).log_batch(run_id, metrics=metrics[start : start + _METRICS_PER_BATCH])


def log_params(uri: str, run_id: str, params: Mapping[str, object]) -> None:
    """Log parameters that the run does not have yet: MLflow never lets one change."""
    known = client(uri)
    there = known.get_run(run_id).data.params
    new = [
        Param(key, str(value)[:_LONGEST_PARAM]) for key, value in params.items() if key not in there
    ]
    for start in range(0, len(new), _PARAMS_PER_BATCH):
        known.log_batch(run_id, params=new[start : start + _PARAMS_PER_BATCH])


def log_picture(uri: str, run_id: str, name: str, image: NDArray[np.uint8], clips: int) -> None:
    """Log one picture, uint8 [H,W,3], under a name at a number of clips seen."""
    client(uri).log_image(run_id, image, key=name, step=clips, synchronous=True)


def log_file(uri: str, run_id: str, file: Path, folder: str) -> None:
    """Log a file as an artifact of a run, under its own name in a folder."""
    client(uri).log_artifact(run_id, str(file), folder)


def log_json(uri: str, run_id: str, name: str, document: object) -> None:
    """Log a document as an artifact of a run, in place of the one there may be."""
    client(uri).log_text(run_id, json.dumps(document, indent=2, allow_nan=False), name)


def log_data_set(uri: str, run_id: str, data_uri: str, digest: str, context: str) -> None:
    """Log a data set as input of a run, and its URI and whole digest as tags.

    Args:
        uri: tracking URI.
        run_id: the run that reads it.
        data_uri: path or URI of the data set.
        digest: sha256 of its manifest, hex.
        context: what it is used for: "training" or "evaluation".
    """
    data_set = Dataset(
        name="/".join(data_uri.rstrip("/").split("/")[-2:]),
        digest=digest[:_DIGEST_CHARACTERS],
        source_type="s3" if lake.is_s3(data_uri) else "local",
        source=json.dumps({"uri": data_uri}),
    )
    inputs = [DatasetInput(data_set, tags=[InputTag("mlflow.data.context", context)])]
    try:
        client(uri).log_inputs(run_id, datasets=inputs)
    except MlflowException:
        # Of two that are the first to name a data set at the same moment, MLflow refuses one; from
        # then on the data set is known.
        client(uri).log_inputs(run_id, datasets=inputs)
    set_tags(uri, run_id, {names.DATA_URI: data_uri, names.DATA_DIGEST: digest})


def finish(uri: str, run_id: str, status: str = "FINISHED") -> None:
    """End a run: FINISHED, FAILED or KILLED."""
    client(uri).set_terminated(run_id, status)


def artifact(uri: str, run_id: str, path: str) -> bytes:
    """One file of a run. MLflow by itself would leave a copy of it in /tmp.

    Raises:
        Gone: the run has no such file.
    """
    with scratch_folder("artifact") as folder:
        try:
            return Path(client(uri).download_artifacts(run_id, path, str(folder))).read_bytes()
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
            raise Gone(
                f"run {run_id} of MLflow at {absolute_uri(uri)} has no file {path} any more"
            ) from error
