import pytest

from data_pipeline.cli.ray_session import ray_session
from tests.mlops.forked import Rows
from tests.tiny import shard_tiny, write_videos


@pytest.fixture
def store(new_store, tmp_path, monkeypatch):
    """A tracking store for one test, in a folder where nothing else may appear."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    # `mlflow.set_tracking_uri` writes this variable; the next test must not read it.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    return new_store(tmp_path / "store")


@pytest.fixture(scope="package")
def workers():
    """One Ray session for all tests of the package that need one; gives its CPUs."""
    with ray_session(2):
        yield 2


@pytest.fixture(scope="package")
def data_set(once):
    """Two videos of 12 frames at 96x96, one of them held out, with two masks each; its URI."""

    def make(folder):
        videos = write_videos(folder / "videos", [12, 12])
        with ray_session(2):
            shard_tiny(folder / "curated" / "tiny" / "v1", videos, workers=2)

    return str(once("mlops-lake", make) / "curated" / "tiny" / "v1")


@pytest.fixture
def forked(monkeypatch):
    """Score versions in forked processes, for tests that only use the scores.

    Tests of the pool itself, and of how rows and errors leave it, start Ray.
    """
    monkeypatch.setattr("ray.data.from_items", Rows)
