"""Paths in URIs of MLflow's store: one function each way, and SQLAlchemy reads what we write."""

from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import make_url

from data_pipeline.cli.command import UserError
from data_pipeline.tracking import store_uri

# What a name may hold on disk; surrogates are bytes that are no text. MLflow cannot read `%20`.
NAMES = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and unquote(name) == name)


@given(st.lists(NAMES, min_size=1, max_size=4))
@example(["100%", "what?", "c#d", "q?x=1#y", "%zz"])
@example(["%", "?"])
@example([" leading", "é ü"])
def test_a_path_comes_back_as_it_was_and_sqlalchemy_reads_the_same(parts):
    path = Path("/", *parts)
    uri = store_uri.of_database(path)
    assert store_uri.database(uri) == path
    assert store_uri.absolute(uri) == uri
    read = make_url(uri)
    assert (read.database, dict(read.query)) == (str(path), {})


@given(st.lists(NAMES, min_size=1, max_size=3))
def test_a_relative_path_is_below_the_folder_one_is_in_whatever_that_is_called(parts):
    uri = store_uri.of_database(Path(*parts))
    assert store_uri.database(uri) == Path.cwd().joinpath(*parts)


def test_the_folder_that_one_is_in_may_hold_what_means_something_else_in_a_uri(
    tmp_path, monkeypatch
):
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
def test_what_is_no_place_is_refused_in_a_line(uri, said):
    with pytest.raises(UserError) as mistake:
        store_uri.absolute(uri)
    assert said in str(mistake.value)
    assert "\n" not in str(mistake.value)
