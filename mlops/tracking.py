"""MLflow runs: where they live and how scalars, pictures and data sets get there.

One process talks to one tracking URI: MLflow's SQL registry and `mlflow.pyfunc.load_model` follow
the process-wide URI whatever client is used, so `client` sets it. No function here uses MLflow's
"active run": the run id is always said.
"""

import getpass
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from data_pipeline import lake
from data_pipeline.door import UserError
from mlops import names

_SQLITE = "sqlite:///"
_SERVER_SCHEMES = ("http://", "https://", "postgresql", "mysql", "mssql")
_LONGEST_PARAM = 6000  # characters, MLflow's limit for the value of one parameter
_PARAMS_PER_BATCH = 100  # MLflow's limit
_METRICS_PER_BATCH = 1000  # likewise
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
_in_a_hurry: set[str] = set()  # names of variables that this process has set, not its user
_DIGEST_CHARACTERS = 32  # MLflow allows 36; the full digest is a tag of the run


def absolute_uri(uri: str) -> str:
    """The tracking URI with an absolute path (Ray workers run in other directories).

    Raises:
        UserError: neither an SQL database nor a server, or it holds a password: the URI is kept
            with the config of each run, for all to read.
    """
    if uri.startswith(_SQLITE):
        path = Path(uri.removeprefix(_SQLITE))
        return f"{_SQLITE}{path.absolute()}"
    if uri.startswith(_SERVER_SCHEMES):
        if urlsplit(uri).password is not None:
            web = uri.startswith("http")
            variables = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            raise UserError(
                "the tracking URI holds a password, and is stored with each run: take it out of "
                f"the URI and set {variables if web else 'PGPASSWORD, or a password file,'} instead"
            )
        return uri
    raise UserError(
        f"tracking URI {uri!r}: give sqlite:////absolute/path/mlflow.db, "
        "or the address of an MLflow server (http://… or https://…)"
    )


def sqlite_file(uri: str) -> Path | None:
    """The database file of a sqlite URI, None for a server."""
    uri = absolute_uri(uri)
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def local_store_ready(uri: str) -> None:
    """Make the folder of a sqlite database, and experiment `sttn` with its files beside it.

    Without an artifact location MLflow would write to ./mlruns of whatever folder a process is in.
    """
    database = sqlite_file(uri)
    location = None
    if database is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
        location = (database.parent / "mlartifacts").as_uri()
    known = client(uri)
    if known.get_experiment_by_name(names.EXPERIMENT) is not None:
        return
    try:
        known.create_experiment(names.EXPERIMENT, artifact_location=location)
    except MlflowException as error:  # another process was faster
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def store_exists(uri: str) -> bool:
    """False for a sqlite database that is not there: asking MLflow would create it."""
    database = sqlite_file(uri)
    return database is None or database.exists()


def client(uri: str) -> MlflowClient:
    """The client of a tracking URI, which becomes this process's tracking and registry URI."""
    uri = absolute_uri(uri)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return _client(uri)


@lru_cache(maxsize=8)
def _client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def artifact(uri: str, run_id: str, path: str) -> bytes:
    """One file of a run. MLflow by itself would leave a copy of it in /tmp."""
    with tempfile.TemporaryDirectory() as folder:
        return Path(client(uri).download_artifacts(run_id, path, folder)).read_bytes()


def experiment_id(uri: str) -> str:
    """Id of experiment `sttn`, made when it is not there."""
    found = client(uri).get_experiment_by_name(names.EXPERIMENT)
    if found is None:
        local_store_ready(uri)
        found = client(uri).get_experiment_by_name(names.EXPERIMENT)
    assert found is not None
    return str(found.experiment_id)


def ensure_run(
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
    set_run_tags(uri, run_id, all_tags)
    return run_id


def find_run(uri: str, tags: Mapping[str, str], *, finished: bool) -> str | None:
    """Id of the newest run that carries all these tags.

    Args:
        uri: tracking URI.
        tags: all must be equal.
        finished: True for runs that ended well; False for those that did not and can be taken up.
    """
    runs = find_runs(uri, tags, finished=finished, most=1)
    return str(runs[0].info.run_id) if runs else None


def find_runs(uri: str, tags: Mapping[str, str], *, finished: bool, most: int) -> list[Run]:
    """The runs that carry all these tags, the newest first; arguments as `find_run`."""
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


def set_run_tags(uri: str, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags of a run, all in one request."""
    client(uri).log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])


def run_tags(uri: str, run_id: str) -> dict[str, str]:
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


def answers(uri: str) -> str:
    """Have the store ready (`local_store_ready`); returns "" or, in a line, what went wrong."""
    try:
        local_store_ready(uri)
    except Exception as error:  # MLflow raises what its store, its client or HTTP raise
        return str(error).strip().splitlines()[0]
    return ""


def impatient() -> None:
    """Have MLflow's client give up after seconds instead of minutes, unless the user has said."""
    for name, value in _IMPATIENT.items():
        if name not in os.environ:
            os.environ[name] = value
            _in_a_hurry.add(name)


def patient() -> None:
    """Have it wait for minutes again: what is to be recorded now took long to find out."""
    while _in_a_hurry:
        os.environ.pop(_in_a_hurry.pop(), None)


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
    set_run_tags(uri, run_id, {names.DATA_URI: data_uri, names.DATA_DIGEST: digest})


def finish(uri: str, run_id: str, status: str = "FINISHED") -> None:
    """End a run: FINISHED, FAILED or KILLED."""
    client(uri).set_terminated(run_id, status)


def user_name() -> str:
    """Who does this: as MLflow knows them, the login name, or the user id (containers)."""
    known = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if known:
        return known
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
