"""Checks within seconds that MLflow's store can be opened; MLflow itself takes minutes."""

import logging
import shlex
from contextlib import suppress
from pathlib import Path

import mlflow.store
import sqlalchemy
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from mlflow import MlflowClient
from sqlalchemy.pool import NullPool

from data_pipeline.storage.disk import part_beside
from data_pipeline.storage.exclusive import give_name
from data_pipeline.tracking.store_errors import Incapable, translated
from data_pipeline.tracking.store_uri import database, of_database

_LOCKED_S = 5.0  # wait for another writer of a SQLite database


def check(uri: str) -> None:
    """Check with one query that an SQL store is there and is MLflow's; servers are not checked.

    MLflow itself retries for 100 s, and upgrades the tables of an older one unasked.

    Raises:
        StoreError: it is not.
    """
    if uri.startswith("http"):
        return
    file = database(uri)
    if file is not None and file.is_dir():
        raise Incapable(
            f"MLflow at {uri}: {file} is a folder: give a file in it, sqlite:////…/mlflow.db"
        )
    waits = {"timeout": _LOCKED_S} if file is not None else {}
    with translated(uri):
        engine = sqlalchemy.create_engine(uri, poolclass=NullPool, connect_args=waits)
        with engine.connect() as connection:
            tables = sqlalchemy.inspect(connection).get_table_names()
            found = MigrationContext.configure(connection).get_current_revision()
    if tables:
        _check_revision(uri, found)


def make(path: Path) -> None:
    """Make a SQLite database with MLflow's tables, atomically; nothing where there is one.

    MLflow makes one table after the other, without a lock: two at the same time both fail, and a
    killed one leaves an unusable database.

    Raises:
        StoreError: it cannot be made there.
    """
    part = part_beside(path)
    uri = of_database(part)
    with translated(of_database(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            MlflowClient(tracking_uri=uri, registry_uri=uri)
            with suppress(FileExistsError):
                give_name(part, path)
        finally:
            part.unlink(missing_ok=True)


def _check_revision(uri: str, found: str | None) -> None:
    scripts = ScriptDirectory(str(Path(mlflow.store.__path__[0]) / "db_migrations"))
    if found == scripts.get_current_head():
        return
    if found is None:
        raise Incapable(
            f"MLflow at {uri} is a database of something else: give one of its own, which may be "
            "empty"
        )
    if any(one.revision == found for one in scripts.walk_revisions()):
        raise Incapable(
            f"MLflow at {uri} has the tables of an older MLflow (revision {found}): back it up and "
            f"run `mlflow db upgrade {shlex.quote(uri)}` when nobody else uses it"
        )
    raise Incapable(
        f"MLflow at {uri} has the tables of a newer MLflow (revision {found}) than the one here, "
        f"{mlflow.__version__}: install that one, or give another --tracking-uri"
    )


def quiet() -> None:
    """Silence MLflow's information, and its tracebacks of errors that it raises as well."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
