import os
import time

import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.tracking import client_timeouts
from mlops.tracking import connection, names, runs
from tests.mlops.forked import FORKS


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        connection.absolute_uri("sqlite:///demo/mlflow.db")
        == f"sqlite:///{tmp_path}/demo/mlflow.db"
    )
    assert connection.absolute_uri("https://mlflow.example") == "https://mlflow.example"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "databricks", ""])
def test_other_stores_are_refused(uri):
    with pytest.raises(UserError, match="give sqlite:////absolute/path/mlflow"):
        connection.absolute_uri(uri)


@pytest.mark.parametrize(
    ("uri", "cure"),
    [
        ("https://me:hunter2@mlflow.example", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASS"),
        ("postgresql://me:hunter2@db.example/mlflow", "PGPASSWORD"),
    ],
)
def test_a_password_in_the_uri_is_refused_and_not_repeated(uri, cure):
    with pytest.raises(UserError, match=cure) as found:
        connection.absolute_uri(uri)
    assert "hunter2" not in str(found.value)


def test_timeouts_are_shortened_and_restored_unless_the_user_set_them(monkeypatch):
    retries, timeout = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.setattr(client_timeouts, "_shortened", set())  # of commands before this test
    monkeypatch.delenv(retries, raising=False)
    monkeypatch.setenv(timeout, "20")  # what it would be set to
    client_timeouts.shorten()
    assert (os.environ[retries], os.environ[timeout]) == ("2", "20")
    client_timeouts.restore()
    assert retries not in os.environ
    assert os.environ[timeout] == "20"


def _beginning(uri, who):
    run = {"run_name": "a", "kind": "training", "tags": {"by": who}}
    process = FORKS.Process(target=runs.ensure, args=(uri,), kwargs=run)
    process.start()
    return process


@pytest.fixture
def uri(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    return f"sqlite:///{tmp_path}/new/mlflow.db"


def test_concurrent_first_processes_share_one_store(uri, tmp_path):
    processes = [_beginning(uri, str(number)) for number in range(3)]
    for process in processes:
        process.join(100)
        assert process.exitcode == 0
    found = runs.find_all(uri, {names.KIND: "training"}, finished=False, limit=10)
    assert sorted(run.data.tags["by"] for run in found) == ["0", "1", "2"]
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["mlflow.db"]


def test_a_process_killed_while_creating_a_store_leaves_none(uri, tmp_path):
    process = _beginning(uri, "killed")
    end = time.monotonic() + 60
    while not list(tmp_path.glob("new/.*.part")) and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(0.1)
    process.kill()
    process.join()
    assert not (tmp_path / "new" / "mlflow.db").exists()
    runs.ensure(uri, run_name="a", kind="training", tags={})
    assert len(runs.find_all(uri, {names.KIND: "training"}, finished=False, limit=10)) == 1
