"""Connection to MLflow: its URI, its client, its experiment, and the name of its user.

One process talks to one tracking URI: MLflow's SQL registry and `mlflow.pyfunc.load_model` follow
the process-wide URI whatever client is used, so `client` sets it.
"""

import getpass
import os
import shlex
from functools import lru_cache
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage
from mlflow.exceptions import MlflowException

from data_pipeline.tracking import store_database, store_uri
from data_pipeline.tracking.store_errors import Deleted, Gone, Incapable, translated
from mlops.tracking import names


def absolute_uri(uri: str) -> str:
    """The tracking URI with an absolute path (Ray workers run in other directories).

    Raises:
        UserError: neither an SQL database nor a server, no address, or it holds a password.
    """
    return store_uri.absolute(uri)


def sqlite_file(uri: str) -> Path | None:
    """The database file of a sqlite URI, None for a server."""
    return store_uri.database(absolute_uri(uri))


def local_store_ready(uri: str) -> None:
    """Make a sqlite database with its folder, and experiment `sttn` with its files beside it.

    Without an artifact location MLflow would write to ./mlruns of whatever folder a process is in.

    Raises:
        Deleted: the experiment is.
        StoreError: the store is not what it should be.
    """
    uri = absolute_uri(uri)
    database = sqlite_file(uri)
    location = None
    if database is not None:
        if not database.exists():
            store_database.quiet()
            store_database.make(database)
        location = (database.parent / "mlartifacts").as_uri()
    known = client(uri)
    if experiment_or_none(uri) is not None:
        return
    try:
        known.create_experiment(names.EXPERIMENT, artifact_location=location)
    except MlflowException as error:  # another process was faster
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def store_exists(uri: str) -> bool:
    """Return False for a sqlite database that is not there: MLflow would create it."""
    database = sqlite_file(uri)
    return database is None or database.exists()


def client(uri: str) -> MlflowClient:
    """The client of a tracking URI, which becomes this process's tracking and registry URI.

    Raises:
        Gone: there is no such sqlite database; only `local_store_ready` makes one.
        StoreError: the store is not what it should be.
    """
    uri = absolute_uri(uri)
    if not store_exists(uri):
        raise Gone(
            f"there is no tracking store at {uri}: train first, or give the --tracking-uri that "
            "training used"
        )
    store_database.quiet()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return _client(uri)


@lru_cache(maxsize=8)
def _client(uri: str) -> MlflowClient:
    store_database.check(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_id(uri: str) -> str:
    """Id of experiment `sttn`, made when it is not there; errors as `local_store_ready`."""
    found = experiment_or_none(uri) if store_exists(uri) else None
    if found is None:
        local_store_ready(uri)
        found = experiment_or_none(uri)
    assert found is not None
    return found


def experiment_or_none(uri: str) -> str | None:
    """Id of experiment `sttn`, None when nothing was recorded yet; makes nothing.

    Raises:
        Deleted: the experiment is.
        Gone: there is no such store.
    """
    found = client(uri).get_experiment_by_name(names.EXPERIMENT)
    if found is None:
        return None
    if not found.experiment_id:  # nothing but 200: MLflow's client takes it for an answer
        raise Incapable(f"{uri} answers with nothing: it is no MLflow. Give its own address")
    if found.lifecycle_stage == LifecycleStage.DELETED:
        raise deleted_experiment(uri, found.name, found.experiment_id)
    return str(found.experiment_id)


def deleted_experiment(uri: str, name: str, number: str) -> Deleted:
    """Error for an experiment that is marked as deleted, with all its runs."""
    return Deleted(
        f"experiment {name} is deleted in MLflow at {uri}, with all its runs: restore it by "
        + restoring(uri, f"experiments restore --experiment-id {number}")
    )


def restoring(uri: str, command: str) -> str:
    """The command line that brings something back that is marked as deleted."""
    return f"MLFLOW_TRACKING_URI={shlex.quote(absolute_uri(uri))} mlflow {command}"


def usable(uri: str) -> None:
    """Make the store ready, and check all that registering a version needs later.

    Raises:
        StoreError: it cannot do that.
    """
    with translated(uri):
        number = experiment_id(uri)
        known = client(uri)
        known.search_logged_models([number], max_results=1)
        known.search_model_versions(f"name = '{names.MODEL}'", max_results=1)


def user_name() -> str:
    """Name of the user: as MLflow knows them, the login name, or the user id (containers)."""
    known = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if known:
        return known
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
