import fcntl
import os
import shutil
import signal
import threading

import pytest
from hypothesis import settings
from mlflow import MlflowClient

from mlops.tracking import connection

# Ray starts its workers at niceness 15: beside a test that computes they would wait for minutes
# (a run of 80 clips beside two busy cores: 65 s with 0, over 250 s with 15).
os.environ.setdefault("RAY_worker_niceness", "0")

# The time of one example depends on the machine and its load, not on the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

# Shells start background processes with SIGINT ignored, nohup with SIGHUP ignored, and so would
# every command below. A handler is not inherited: commands start with the default.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


# Fixtures that start Ray in the process of the tests.
_RAY = {"ray_for_all", "workers", "data_sets"}


def pytest_collection_modifyitems(items):
    """Run fast files first, then those that start Ray, last those that are marked `waits`."""

    def rank(item):
        return 2 if item.get_closest_marker("waits") else not _RAY.isdisjoint(item.fixturenames)

    ranks = {}
    for item in items:
        ranks[item.path] = max(rank(item), ranks.get(item.path, 0))
    items.sort(key=lambda item: ranks[item.path])


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Make a named folder once for all test processes; each of them gets it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name, make):
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def empty_database(once):
    """A database with MLflow's tables in it: making them takes seconds, copying does not."""

    def make(folder):
        uri = f"sqlite:///{folder}/mlflow.db"
        MlflowClient(uri, uri)  # without an experiment, which would store its artifact location

    return once("database", make) / "mlflow.db"


@pytest.fixture
def new_store(empty_database):
    """Make a tracking store in a folder; gives its URI."""

    def make(folder):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(empty_database, folder / "mlflow.db")
        uri = f"sqlite:///{folder}/mlflow.db"
        connection.local_store_ready(uri)
        return uri

    return make
