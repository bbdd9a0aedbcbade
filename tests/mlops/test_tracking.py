import os

import pytest

from data_pipeline.door import UserError
from mlops import tracking


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        tracking.absolute_uri("sqlite:///demo/mlflow.db") == f"sqlite:///{tmp_path}/demo/mlflow.db"
    )
    assert tracking.absolute_uri("https://mlflow.example") == "https://mlflow.example"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "databricks", ""])
def test_other_stores_are_refused(uri):
    with pytest.raises(UserError, match="give sqlite:////absolute/path/mlflow"):
        tracking.absolute_uri(uri)


@pytest.mark.parametrize(
    ("uri", "cure"),
    [
        ("https://me:hunter2@mlflow.example", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASS"),
        ("postgresql://me:hunter2@db.example/mlflow", "PGPASSWORD"),
    ],
)
def test_a_password_in_the_uri_is_refused_and_not_repeated(uri, cure):
    with pytest.raises(UserError, match=cure) as found:
        tracking.absolute_uri(uri)
    assert "hunter2" not in str(found.value)


def test_patience_is_what_the_user_has_said_or_mlflows_own(monkeypatch):
    retries, timeout = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.setattr(tracking, "_in_a_hurry", set())  # what doors before this test have set
    monkeypatch.delenv(retries, raising=False)
    monkeypatch.setenv(timeout, "20")  # what it would be set to
    tracking.impatient()
    assert (os.environ[retries], os.environ[timeout]) == ("2", "20")
    tracking.patient()
    assert retries not in os.environ
    assert os.environ[timeout] == "20"
