"""Who refers to a data set: runs and registered versions in MLflow, by the digest in their tags.

The only file of this room that loads MLflow.
"""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from data_pipeline.door import Refused, UserError
from data_pipeline.provenance import DATA_DIGEST

_SQLITE = "sqlite:///"
# MLflow's own seven tries take minutes to find that nobody answers.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


def references(tracking_uri: str, digest: str) -> tuple[str, ...]:
    """Runs and registered versions made with the data set of this digest, in words, sorted.

    Runs and experiments in MLflow's bin do not count.

    Raises:
        UserError: there is no such registry.
        Refused: it does not answer.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    database = Path(tracking_uri.removeprefix(_SQLITE))
    if tracking_uri.startswith(_SQLITE) and not database.exists():  # MLflow would create it
        raise UserError(
            f"there is no registry at {tracking_uri}: give the --tracking-uri that training used, "
            "or --no-registry when there is none"
        )
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        return tuple(sorted([*_versions(client, digest), *_runs(client, digest)]))
    except MlflowException as error:
        reason = " ".join(str(error).split())[:200]
        raise Refused(
            f"{tracking_uri} does not say who refers to the data set ({reason}): nothing was "
            "removed; try again when it answers"
        ) from error


def _versions(client: MlflowClient, digest: str) -> Iterator[str]:
    tagged = f"tags.`{DATA_DIGEST}` = '{digest}'"
    for one in _all(lambda page: client.search_model_versions(tagged, page_token=page)):
        yield f"models:/{one.name}/{one.version}"


def _runs(client: MlflowClient, digest: str) -> Iterator[str]:
    known = _all(lambda page: client.search_experiments(page_token=page))
    experiments = {one.experiment_id: one.name for one in known}
    tagged = f"tags.`{DATA_DIGEST}` = '{digest}'"
    for one in _all(lambda page: client.search_runs(list(experiments), tagged, page_token=page)):
        name = experiments[one.info.experiment_id]
        yield f"run {one.info.run_name} ({one.info.run_id}) of experiment {name}"


def _all(search: Callable[[str | None], PagedList[Any]]) -> Iterator[Any]:
    """Everything that a search finds, page by page."""
    page = None
    while True:
        found = search(page)
        yield from found
        page = found.token
        if not page:
            return
