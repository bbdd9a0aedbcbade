from pathlib import Path

import pytest
import ray

from data_pipeline.cli.ray_session import ray_session
from tests.loopback import bucket_on_s3
from tests.tiny import shard_tiny, write_videos

LENGTHS = (40, 12, 9)


@pytest.fixture(scope="package")
def s3(tmp_path_factory):
    """An S3 server on loopback, and the variables that lead to it."""
    with bucket_on_s3("bucket") as uri, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STTN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield uri


@pytest.fixture(scope="package")
def ray_for_all(s3):  # noqa: ARG001 (workers take the variables of S3 from this process)
    """One Ray for all tests of the package, stopped before those of the next."""
    with ray_session(2):
        yield
    assert not ray.is_initialized()


@pytest.fixture(scope="package")
def videos(tmp_path_factory):
    return write_videos(tmp_path_factory.mktemp("videos"), LENGTHS)


@pytest.fixture(scope="package")
def built(tmp_path_factory, videos, ray_for_all):  # noqa: ARG001 (builds in that Ray)
    """A data set that no test changes."""
    return shard_tiny(tmp_path_factory.mktemp("lake") / "v1", videos, masks=2)


@pytest.fixture
def own(tmp_path, videos, ray_for_all):  # noqa: ARG001 (builds in that Ray)
    """A data set that a test may damage."""
    return shard_tiny(tmp_path / "own", videos)


@pytest.fixture
def flip_byte():
    def flip(path: Path, offset: int) -> None:
        data = bytearray(path.read_bytes())
        data[offset] ^= 1
        path.write_bytes(data)

    return flip
