"""Errors while a version is scored keep their class on the way to the caller."""

import pytest

from data_pipeline.cli.command import Refused, UserError
from data_pipeline.read.cache import CorruptData
from data_pipeline.storage.store import DiskFull, TransientError
from data_pipeline.tracking.store_errors import Gone, Unreachable
from mlops.evaluation import pool, scoring
from mlops.evaluation.protocol import PROTOCOLS
from mlops.tracking import names, registry
from mlops.tracking.registry import Version
from tests.faults.processes import finish, start_command
from tests.mlops import foreign

VERSION = Version("sttn", "1", {}, "")
TASK = scoring.Task(
    plan=scoring.Plan(
        tracking_uri="sqlite:////nowhere/mlflow.db",
        data_uri="/nowhere",
        protocol=PROTOCOLS["clean"],
        workers=1,
    ),
    version=VERSION,
    subject=names.SUBJECT_CANDIDATE,
    floors=False,
    drawn=0,
)
AWAY = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture
def arrived(monkeypatch):
    """Raise an error while a version is loaded; returns the error that the caller gets."""

    def arrive(error):
        def load(_uri, _version):
            raise error

        monkeypatch.setattr(scoring, "load", load)
        (row,) = scoring.ScoringActor(TASK)({"video": 0})
        monkeypatch.setattr(pool.ray, "cluster_resources", dict)
        monkeypatch.setattr(pool.ray.data, "from_items", lambda *_, **__: Rows(row))
        with pytest.raises(
            type(error) if isinstance(error, (UserError, Refused)) else Refused
        ) as e:
            list(pool._scored(TASK, [0], 1))
        return e.value

    return arrive


class Rows:
    """Stands in for a Ray data set of one row."""

    def __init__(self, row):
        self._row = row

    def flat_map(self, *_, **__):
        return self

    def iter_rows(self):
        yield self._row


@pytest.mark.parametrize(
    "kind", [UserError, TransientError, DiskFull, CorruptData, Gone, Unreachable]
)
def test_project_errors_keep_their_class_through_ray(arrived, kind):
    error = arrived(kind("s3://lake is away"))
    assert type(error) is kind
    assert str(error) == "s3://lake is away"


def test_an_exception_in_a_versions_code_refuses_the_version(arrived, capsys):
    error = arrived(RuntimeError("the model fell over"))
    assert type(error) is Refused
    words = "models:/sttn/1 could not be scored: RuntimeError: the model fell over"
    assert str(error) == words
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "in load" in said
    assert str(arrived(Refused("it answered floats"))).endswith("scored: it answered floats")


@pytest.mark.faults
@pytest.mark.distributed
def test_an_unreachable_store_leaves_the_version_pending(store, tmp_path, data_set):
    """Only workers read flows: the outage reaches the watcher through Ray."""
    version = foreign.register(store, tmp_path / "one", foreign.GREY)
    watch = (
        "mlops/evaluate.py", "--model", "models:/sttn@candidate", "--data", data_set,
        "--tracking-uri", store, "--watch", "--until-idle", "--clips-per-video", 1,
        "--frames-per-clip", 5, "--workers", 1,
    )  # fmt: skip
    code, out, err = finish(start_command(*watch, "--flows", "s3://away/flows", **AWAY))
    assert code == 1, out + err
    assert "the store does not answer" in err
    assert "could not be evaluated" not in out
    tags = registry.resolve(store, version.uri).tags
    assert tags[names.EVALUATION] == names.EVALUATION_PENDING
    code, out, err = finish(start_command(*watch))
    assert code == 0, out + err
    assert registry.resolve(store, version.uri).tags[names.EVALUATION] == names.EVALUATION_DONE
