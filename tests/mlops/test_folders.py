"""Stores in folders whose names are special in a URI: all of MLflow's files are in them."""

from pathlib import Path

import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.tracking import store_uri
from mlops import lineage
from mlops.tracking import connection, registry, runs
from tests.mlops import foreign

NAMES = ["a b", "50%", "a%b", "what?", "c#d", "q?x=1&y#z", "a+b", "é ü", "a:b@c"]


@pytest.mark.parametrize("name", NAMES)
def test_a_version_is_registered_and_found_again_in_a_folder(name, store, tmp_path, capsys):
    assert store
    folder = tmp_path / "lake" / name
    uri = store_uri.of_database(folder / "mlflow.db")
    version = foreign.register(uri, tmp_path / "model")
    runs.log_file(uri, version.run_id, Path(__file__), "code")
    assert lineage.main([version.uri, "--tracking-uri", uri]) == 0
    assert "models:/sttn/1 -> run tiny (" in capsys.readouterr().out
    assert runs.artifact(uri, version.run_id, "code/test_folders.py") == Path(__file__).read_bytes()
    assert foreign.load(version.uri) is not None
    assert 0 < registry.megabytes(uri, version) < 1
    # No folder of another spelling exists.
    assert [one.name for one in folder.parent.iterdir()] == [name]
    assert sorted(one.name for one in folder.iterdir()) == ["mlartifacts", "mlflow.db"]
    assert list((tmp_path / "here").iterdir()) == []


def test_a_folder_that_mlflow_cannot_read_from_is_refused_before_anything_is_written(
    store, tmp_path, monkeypatch
):
    assert store
    (tmp_path / "a%20b").mkdir()
    monkeypatch.chdir(tmp_path / "a%20b")
    with pytest.raises(UserError, match="MLflow reads no models from a folder whose name holds"):
        runs.ensure("sqlite:///demo/mlflow.db", run_name="a", kind="training", tags={})
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("name", ["50% done?", "c#d"])
def test_a_relative_path_in_such_a_folder(name, store, tmp_path, monkeypatch):
    assert store
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    version = foreign.register("sqlite:///demo/mlflow.db", tmp_path / "model")
    assert registry.resolve("sqlite:///demo/mlflow.db", version.uri).source == version.source
    assert [one.name for one in Path.cwd().iterdir()] == ["demo"]
    assert connection.sqlite_file("sqlite:///demo/mlflow.db") == Path.cwd() / "demo" / "mlflow.db"
