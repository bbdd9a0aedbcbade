"""Where MLflow lives: its URI, its client, how long it is waited for, and who talks to it.

One process talks to one tracking URI: MLflow's SQL registry and `mlflow.pyfunc.load_model` follow
the process-wide URI whatever client is used, so `client` sets it.
"""

import getpass
import logging
import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from data_pipeline.door import UserError
from mlops import names

_SQLITE = "sqlite:///"
_SERVER_SCHEMES = ("http://", "https://", "postgresql", "mysql", "mssql")
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
_in_a_hurry: set[str] = set()  # names of variables that this process has set, not its user


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


def experiment_id(uri: str) -> str:
    """Id of experiment `sttn`, made when it is not there."""
    found = client(uri).get_experiment_by_name(names.EXPERIMENT)
    if found is None:
        local_store_ready(uri)
        found = client(uri).get_experiment_by_name(names.EXPERIMENT)
    assert found is not None
    return str(found.experiment_id)


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


def user_name() -> str:
    """Who does this: as MLflow knows them, the login name, or the user id (containers)."""
    known = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if known:
        return known
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
