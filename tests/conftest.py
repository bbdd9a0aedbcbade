import os
import shutil
import signal
import threading

import pytest
from hypothesis import settings

from mlops import tracking

# Ray starts its workers at niceness 15: beside a test that computes they would wait for minutes
# (a run of 80 clips beside two busy cores: 65 s with 0, over 250 s with 15).
os.environ.setdefault("RAY_worker_niceness", "0")

# How long one example takes tells of the machine and of what runs beside, nothing of the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

# Shells start what runs in their background with Ctrl-C ignored, and so would every door below.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Begin what waits for minutes first, where several run at once: the rest runs beside it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("waits") is None)


@pytest.fixture(scope="session")
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
