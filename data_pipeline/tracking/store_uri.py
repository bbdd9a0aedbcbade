"""Checks URIs of MLflow's store, makes them absolute, and encodes the path of a database in one.

SQLAlchemy takes what follows `sqlite:///` up to a `?` and undoes percent-encoding in it. MLflow
makes the folder of the same text without undoing it: a path that must be encoded is therefore
encoded with its slashes, so that the folder of the text is the root, which is there.
"""

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from data_pipeline.cli.command import UserError

_SQLITE = "sqlite:///"
_WEB = ("http://", "https://")
_SERVERS = (*_WEB, "postgresql", "mysql", "mssql")
_ENCODED = ("%", "?")  # mean something else in a URI


def absolute(uri: str) -> str:
    """Return the tracking URI with an absolute path (Ray workers run in other directories).

    Raises:
        UserError: neither an SQL database nor a server, no address, or it holds a password: the
            URI is kept with the config of each run, for all to read.
    """
    if uri.startswith(_SQLITE):
        return of_database(_database(uri))
    if not uri.startswith(_SERVERS):
        raise UserError(
            f"tracking URI {uri!r}: give sqlite:////absolute/path/mlflow.db, "
            "or the address of an MLflow server (http://… or https://…)"
        )
    web = uri.startswith(_WEB)
    try:
        parts = urlsplit(uri)
        password, host, _ = parts.password, parts.hostname, parts.port
    except ValueError as error:  # a port that is none, half a bracket
        raise UserError(f"tracking URI {uri!r}: {error}: give HOST:PORT in it") from error
    if password is not None:
        variables = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        raise UserError(
            "the tracking URI holds a password, and is stored with each run: take it out of "
            f"the URI and set {variables if web else 'PGPASSWORD, or a password file,'} instead"
        )
    if web and not host:
        raise UserError(f"tracking URI {uri!r} names no host: give http://HOST:PORT")
    return uri


def of_database(path: Path) -> str:
    """Return the URI of a SQLite database; `path` is made absolute.

    Raises:
        UserError: MLflow would not find models again that lie beside it: it undoes
            percent-encoding in plain paths too (`local_file_uri_to_path`, MLflow 3.17).
    """
    text = str(path.absolute())
    if unquote(text) != text:
        raise UserError(
            f"{text}: MLflow reads no models from a folder whose name holds a % and two "
            "hexadecimal digits: give another one"
        )
    if any(one in text for one in _ENCODED):
        text = "/" + quote(text.lstrip("/"), safe="")
    return _SQLITE + text


def database(uri: str) -> Path | None:
    """Return the database file of a sqlite URI, absolute; None for a server."""
    return _database(uri) if uri.startswith(_SQLITE) else None


def _database(uri: str) -> Path:
    """Return the path of a sqlite URI; `UserError` where it has parameters, or no path."""
    text, more, _ = uri.removeprefix(_SQLITE).partition("?")
    if more:
        raise UserError(
            f"tracking URI {uri!r}: parameters begin at its ?, and none are known here: give "
            "sqlite:////absolute/path/mlflow.db, with %3F for a ? and %25 for a % of the path"
        )
    if not text or text.endswith("/"):
        raise UserError(
            f"tracking URI {uri!r} names no file: give sqlite:////absolute/path/mlflow.db"
        )
    return Path(unquote(text)).absolute()
