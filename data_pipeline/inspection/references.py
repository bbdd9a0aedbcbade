"""Finds runs and registered versions in MLflow that refer to a data set, by their digest tags."""

from collections.abc import Callable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.store.entities import PagedList

from data_pipeline.cli.command import UserError
from data_pipeline.format.provenance import DATA_DIGEST
from data_pipeline.tracking import client_timeouts, store_database, store_uri
from data_pipeline.tracking.store_errors import StoreError, translated


def references(registry_uri: str, digest: str) -> tuple[str, ...]:
    """Describe the runs and registered versions made with the data set of this digest, sorted.

    Deleted runs and experiments do not count.

    Raises:
        UserError: there is no such registry.
        StoreError: it does not answer.
    """
    uri = store_uri.absolute(registry_uri)
    database = store_uri.database(uri)
    if database is not None and not database.exists():  # MLflow would create it
        raise UserError(
            f"there is no registry at {uri}: give the --tracking-uri that training used, or "
            "--no-registry when there is none"
        )
    client_timeouts.shorten()
    store_database.quiet()
    try:
        with translated(uri):
            store_database.check(uri)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            return tuple(sorted([*_versions(client, digest), *_runs(client, digest)]))
    except StoreError as error:
        raise type(error)(
            f"nothing was removed, because references are not known: {error}"
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
    """Yield all results of a search, page by page."""
    page = None
    while True:
        found = search(page)
        yield from found
        page = found.token
        if not page:
            return
