import shutil

import pytest

from data_pipeline.session import ray_session
from mlops import tracking
from tests.tiny import shard_tiny, write_videos


@pytest.fixture(scope="package")
def empty_database(tmp_path_factory):
    """A database with MLflow's tables in it: making them takes seconds, copying does not."""
    folder = tmp_path_factory.mktemp("database")
    tracking.client(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture
def new_store(empty_database):
    """Make a tracking store in a folder; gives its URI."""

    def make(folder):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(empty_database, folder / "mlflow.db")
        uri = f"sqlite:///{folder}/mlflow.db"
        tracking.local_store_ready(uri)
        return uri

    return make


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
    """One Ray session for all tests of the room that need one; gives its CPUs."""
    with ray_session(2):
        yield 2


@pytest.fixture(scope="package")
def data_set(workers, tmp_path_factory):
    """Two videos of 12 frames at 96x96, one of them held out, with two masks each; its URI."""
    folder = tmp_path_factory.mktemp("lake")
    videos = write_videos(folder / "videos", [12, 12])
    return shard_tiny(folder / "curated" / "tiny" / "v1", videos, workers=workers).uri
