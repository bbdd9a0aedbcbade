"""Permanent errors of workers end a run at once; transient ones are retried."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import ray.exceptions

from data_pipeline.cli.command import Refused, UserError
from data_pipeline.read.cache import CorruptData
from data_pipeline.storage.lease import LeaseLost
from data_pipeline.storage.store import DiskFull, TransientError
from tests.faults.processes import finish
from tests.faults.training import made
from training.driver.failures import is_permanent


@pytest.mark.parametrize(
    "error",
    [
        UserError("a wish"),
        Refused("a rule"),
        CorruptData("not what was written"),
        LeaseLost("somebody else's"),
        ValueError("seed"),
        OverflowError("int too big to convert"),
        ZeroDivisionError(),
        KeyError("x"),
        IndexError(),
        TypeError(),
        AttributeError(),
        ModuleNotFoundError(),
        AssertionError(),
        NotImplementedError(),
        UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_permanent_errors_are_not_retried(error):
    assert is_permanent(error)


@pytest.mark.parametrize(
    "error",
    [
        TransientError("away"),
        DiskFull("full"),
        RuntimeError("[gloo/transport/tcp/pair.cc:525] Connection closed by peer"),
        OSError(5, "Input/output error"),
        ConnectionResetError(),
        TimeoutError(),
        MemoryError(),
        ray.exceptions.RayActorError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_transient_errors_are_retried(error):
    assert not is_permanent(error)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return made(tmp_path_factory.mktemp("failures"))


@pytest.mark.faults
@pytest.mark.distributed
def test_damaged_data_ends_a_run_without_retries(place, tmp_path):
    """Only workers read frames. Retries would end with a message that they were given up."""
    copy = tmp_path / "data"
    shutil.copytree(place.data, copy)
    for shard in Path(copy, "shards").glob("*.tar"):
        data = bytearray(shard.read_bytes())
        for at in range(600, len(data), 700):
            data[at] ^= 0xFF
        shard.write_bytes(data)
    there = replace(place, folder=tmp_path, elsewhere=str(tmp_path / "runs"))
    code, out, err = finish(there.start("damaged", "--max-restarts", 3))
    assert code == 1, out + err
    last = err.splitlines()[-1]
    assert last.startswith("refused: ")
    assert "given up" not in err
    assert "Traceback" not in out + err
