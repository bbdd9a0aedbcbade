"""Runs of MLflow: found or made, and what is written to them.

The run id is always said: no function here uses MLflow's "active run".
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from data_pipeline import lake
from mlops import names
from mlops.tracking import client, experiment_id, user_name

_LONGEST_PARAM = 6000  # characters, MLflow's limit for the value of one parameter
_PARAMS_PER_BATCH = 100  # MLflow's limit
_METRICS_PER_BATCH = 1000  # likewise
_DIGEST_CHARACTERS = 32  # MLflow allows 36; the full digest is a tag of the run


def ensure(
    uri: str,
    *,
    run_name: str,
    kind: str,
    tags: Mapping[str, str],
    run_id: str | None = None,
) -> str:
    """Create a run, or take up the one with this id again, and return its id.

    Args:
        uri: tracking URI.
        run_name: name shown in the list of runs.
        kind: `names.KIND_TRAINING` or another `KIND_`.
        tags: further tags; on an existing run they are overwritten.
        run_id: id of an existing run, which then runs again.

    Raises:
        mlflow.exceptions.MlflowException: run_id is not in this store.
    """
    known = client(uri)
    all_tags = {names.KIND: kind, "mlflow.user": user_name(), **tags}
    if run_id is None:
        run = known.create_run(experiment_id(uri), run_name=run_name, tags=all_tags)
        return str(run.info.run_id)
    known.update_run(run_id, status="RUNNING", name=run_name)
    set_tags(uri, run_id, all_tags)
    return run_id


def find(uri: str, tags: Mapping[str, str], *, finished: bool) -> str | None:
    """Id of the newest run that carries all these tags.

    Args:
        uri: tracking URI.
        tags: all must be equal.
        finished: True for runs that ended well; False for those that did not and can be taken up.
    """
    runs = find_all(uri, tags, finished=finished, most=1)
    return str(runs[0].info.run_id) if runs else None


def find_all(uri: str, tags: Mapping[str, str], *, finished: bool, most: int) -> list[Run]:
    """The runs that carry all these tags, the newest first; arguments as `find`."""
    terms = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
    terms.append(
        "attributes.status = 'FINISHED'" if finished else "attributes.status != 'FINISHED'"
    )
    order = ["attributes.start_time DESC"]
    return list(
        client(uri).search_runs(
            [experiment_id(uri)], " and ".join(terms), max_results=most, order_by=order
        )
    )


def set_tags(uri: str, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run, all in one request."""
    client(uri).log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])


def tags_of(uri: str, run_id: str) -> dict[str, str]:
    """All tags of a run."""
    return dict(client(uri).get_run(run_id).data.tags)


@dataclass(frozen=True, slots=True)
class Point:
    """Scalars of one moment."""

    clips: int
    """Clips seen."""
    time_ms: int
    """Since 1970."""
    values: Mapping[str, float]
    """By name."""


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
    """One file of a run. MLflow by itself would leave a copy of it in /tmp."""
    with tempfile.TemporaryDirectory() as folder:
        return Path(client(uri).download_artifacts(run_id, path, folder)).read_bytes()
