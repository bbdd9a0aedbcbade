import json
import time

import pytest

from data_pipeline.storage import s3
from tests.faults.processes import finish
from tests.faults.s3 import s3_server
from tests.faults.sharding import start
from tests.tiny import write_videos

LENGTHS = (60, 70, 80, 60, 90, 50)


@pytest.fixture(scope="package")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"), LENGTHS)


@pytest.fixture(scope="package")
def undisturbed(videos, tmp_path_factory):
    """(digest, seconds) of an undisturbed run."""
    began = time.monotonic()
    code, out, err = finish(start(videos, tmp_path_factory.mktemp("whole") / "v1"))
    assert code == 0, err
    return json.loads(out.splitlines()[-1])["digest"], time.monotonic() - began


@pytest.fixture(scope="module")
def endpoint():
    """An S3 server."""
    with s3_server() as url:
        yield url


@pytest.fixture
def use_endpoint(monkeypatch):
    """Choose the S3 endpoint of this process and of those it starts."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def take(url):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        s3.client().clear_instance_cache()

    yield take
    s3.client().clear_instance_cache()
