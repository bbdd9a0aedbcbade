"""An unusable cluster is reported within seconds, before any work starts."""

import socket
import time

import pytest

from data_pipeline import run as data_run
from data_pipeline.cli import ray_cluster
from tests.faults.processes import free_port
from tests.tiny import write_video
from training import run as training_run

LONG = "/tmp/" + "x" * 100


@pytest.fixture
def shard(tmp_path):
    video = write_video(tmp_path / "video.mp4", frames=2)
    return lambda: data_run.main(["shard", "--input", str(video), "--output", str(tmp_path / "v1")])


@pytest.fixture
def train(tmp_path):
    places = "--data", tmp_path / "data", "--storage", tmp_path / "runs"
    words = ["smoke", *map(str, places), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    return lambda: training_run.main(words)


@pytest.fixture(params=["shard", "train"])
def command(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def complaint(capsys, monkeypatch, command, tmp_path):
    """Run with these variables; returns the one line of error."""

    def run(**environment):
        for name in ("RAY_ADDRESS", "RAY_TMPDIR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        # Tests before this one may have a session open in this process.
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        began = time.monotonic()
        assert command() == 2
        assert time.monotonic() - began < 15
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("error: ")
        assert {path.name for path in tmp_path.iterdir()} <= {"video.mp4"}
        return said

    return run


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://127.0.0.1:8265", "RAY_API_SERVER_ADDRESS"),
        ("https://cluster", "host:port of the head"),
        ("ray://127.0.0.1:10001", "ray job submit"),
        ("foo://x:1", "host:port of the head"),
        ("bare", "which is not host:port"),
        ("127.0.0.1", "which is not host:port"),
        ("127.0.0.1:99999", "which is not host:port"),
        ("127.0.0.1:port", "which is not host:port"),
        (":6379", "which is not host:port"),
        ("a b:6379", "which is not host:port"),
        ("no-such-host.invalid:6379", "no-such-host.invalid"),
        ("[::1]:9", "refused"),
    ],
)
def test_an_invalid_address_is_named_with_its_variable(complaint, value, words):
    said = complaint(RAY_ADDRESS=value)
    assert f"RAY_ADDRESS is {value!r}" in said
    assert words in said


def test_a_closed_port_is_named(complaint):
    said = complaint(RAY_ADDRESS=f"127.0.0.1:{free_port()}")
    assert "nobody answers there as a Ray cluster does" in said
    assert "Connection refused" in said
    assert "correct RAY_ADDRESS, or unset it" in said


def test_a_server_that_never_answers_is_named(complaint, monkeypatch):
    monkeypatch.setattr("data_pipeline.cli.ray_cluster.ANSWER_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = complaint(RAY_ADDRESS=f"127.0.0.1:{silent.getsockname()[1]}")
    assert "answers there" in said


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_whose_path_is_too_long_for_sockets(complaint, variable):
    said = complaint(**{variable: LONG})
    assert f"{variable} is {LONG}" in said
    assert "107 bytes" in said
    room = int(said.split("at most ")[1].split()[0])
    assert len(LONG) > room > 30


def test_the_address_local_means_this_machine():

    assert not ray_cluster.is_named({"RAY_ADDRESS": "local"})
    assert not ray_cluster.is_named({"RAY_ADDRESS": ""})
    assert not ray_cluster.is_named({})
    assert ray_cluster.is_named({"RAY_ADDRESS": "auto"})
