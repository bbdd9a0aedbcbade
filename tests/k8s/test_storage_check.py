import socket

import pytest
from s3fs import S3FileSystem

from data_pipeline.storage import s3
from k8s import storage_check
from tests.loopback import bucket_on_s3

pytestmark = pytest.mark.usefixtures("bucket")


@pytest.fixture
def bucket():
    with bucket_on_s3("lake") as uri:
        yield uri


def test_a_store_that_is_there_is_written_and_read_and_left_as_it_was(capsys):
    assert storage_check.main(["s3://lake/runs"]) == 0
    assert "was written, read and removed" in capsys.readouterr().out
    assert s3.client().find("lake") == []


def test_a_bucket_that_is_not_there_is_one_line(capsys):
    assert storage_check.main(["s3://nowhere/runs"]) != 0
    said = capsys.readouterr().err
    assert "s3://nowhere/runs" in said
    assert said.count("\n") == 1


def test_who_does_not_answer_is_not_waited_for(monkeypatch, capsys):
    monkeypatch.setattr(storage_check, "_PATIENCE_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        S3FileSystem.clear_instance_cache()
        assert storage_check.main(["s3://lake/runs"]) == 1
    assert "the store does not answer properly (no answer in time)" in capsys.readouterr().err
