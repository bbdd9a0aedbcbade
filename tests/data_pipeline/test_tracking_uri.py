"""Paths in URIs of MLflow's store: conversions both ways agree with SQLAlchemy."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import make_url

from data_pipeline.cli.command import UserError
from data_pipeline.tracking import store_uri

# Characters of file names; surrogates are undecodable bytes. MLflow cannot read `%20`.
NAMES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and unquote(name) == name)


@given(st.lists(NAMES, min_size=1, max_size=4))
@example(["100%", "what?", "c#d", "q?x=1#y", "%zz"])
@example(["%", "?"])
@example([" leading", "é ü"])
def test_store_paths_round_trip_and_match_sqlalchemy(parts):
    path = Path("/", *parts)
    uri = store_uri.of_database(path)
    assert store_uri.database(uri) == path
    assert store_uri.absolute(uri) == uri
    read = make_url(uri)
    assert (read.database, dict(read.query)) == (str(path), {})


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_a_relative_path_is_resolved_in_a_folder_of_any_name(parts):
    uri = store_uri.of_database(Path(*parts))
    assert store_uri.database(uri) == Path.cwd().joinpath(*parts)


def test_the_working_directory_may_contain_uri_characters(tmp_path, monkeypatch):
    folder = tmp_path / "50% done?"
    folder.mkdir()
    monkeypatch.chdir(folder)
    uri = store_uri.absolute("sqlite:///demo/mlflow.db")
    assert make_url(uri).database == str(folder / "demo" / "mlflow.db")
    assert store_uri.database("sqlite:///a%20b.db") == folder / "a b.db"  # as SQLAlchemy does


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:////lake/what?/mlflow.db", "%3F for a ?"),
        ("sqlite:////lake/mlflow.db?timeout=3", "parameters begin at its ?"),
        ("sqlite:////lake/a%2520b/mlflow.db", "/lake/a%20b/mlflow.db: MLflow reads no models"),
        ("sqlite:///", "names no file"),
        ("sqlite:////lake/", "names no file"),
        ("sqlite://", "give sqlite:////absolute/path/mlflow.db"),
        ("http://localhost:99999", "Port out of range"),
        ("http://host:port", "Port could not be cast"),
        ("postgresql://host:port/mlflow", "Port could not be cast"),
        ("https://[::1", "give HOST:PORT"),
        ("http://", "names no host"),
        ("https://:5000", "names no host"),
    ],
)
def test_invalid_store_uris_are_refused_in_one_line(uri, said):
    with pytest.raises(UserError) as mistake:
        store_uri.absolute(uri)
    assert said in str(mistake.value)
    assert "\n" not in str(mistake.value)
