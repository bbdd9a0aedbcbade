"""A cluster that answers but cannot be used: wrong token, other versions, not a head."""

import json
import os
import subprocess
import sys
import time

import pytest

from tests.faults.head import started
from tests.faults.processes import finish, start_command
from tests.tiny import write_video

pytestmark = [pytest.mark.faults, pytest.mark.distributed, pytest.mark.timeout(400)]


# The metadata of a cluster, read in a separate process that has the token.
KNOWN = """
import os, sys
from ray._raylet import GcsClient
client, where = GcsClient(address=os.environ["ADDRESS"]), b"CLUSTER_METADATA"
known = client.internal_kv_get(where, namespace=b"cluster")
"""
PUT = 'client.internal_kv_put(where, sys.argv[1].encode(), True, namespace=b"cluster")'


def metadata(given, then, *words):
    done = subprocess.run(
        [sys.executable, "-c", KNOWN + then, *words],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    with started(tmp_path_factory.mktemp("nothing")) as head:
        yield head


@pytest.fixture
def run(head, tmp_path):
    """Run a command with these variables; gives exit code and the last line of stderr."""
    video = write_video(tmp_path / "video.mp4", frames=12)
    commands = {
        "shard": ("data_pipeline/run.py", "shard", "--input", video, "--output", tmp_path / "v1"),
        "train": (
            "training/run.py", "smoke", "--data", tmp_path / "none", "--storage", tmp_path / "runs",
            "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db",
        ),
    }  # fmt: skip

    def run(command, **environment):
        began = time.monotonic()
        defaults = {"RAY_ADDRESS": head.address, "RAY_AUTH_MODE": "disabled", "HOME": str(tmp_path)}
        code, _, err = finish(start_command(*commands[command], **{**defaults, **environment}), 60)
        assert "Traceback" not in err
        return code, err.splitlines()[-1], time.monotonic() - began

    return run


@pytest.mark.parametrize("command", ["shard", "train"])
@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "it wants its token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "wrong"}, "it wants its token"),
        ({"RAY_AUTH_MODE": "token"}, "RAY_AUTH_MODE is token, but there is none"),
    ],
    ids=["none", "wrong", "mode alone"],
)
def test_a_cluster_without_its_token_is_refused(run, command, environment, words):
    code, said, took = run(command, **environment)
    assert code == 2
    assert words in said
    assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in said
    assert took < 30


def test_a_command_runs_on_a_cluster_with_its_token(run, head):
    given = {name: head.environment[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    code, said, _ = run("shard", **given)
    assert code == 0, said


def test_another_port_of_the_head_is_refused(run, head):
    code, said, _ = run("shard", RAY_ADDRESS=f"127.0.0.1:{head.port}")
    assert code == 2
    assert f"RAY_ADDRESS is '127.0.0.1:{head.port}'" in said


@pytest.mark.parametrize("other", ["ray_version", "python_version"])
def test_a_cluster_of_another_version_is_refused_with_both_versions(run, head, other):
    given = {name: head.environment[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    given["ADDRESS"] = head.address
    before = metadata(given, "print(known.decode())")
    altered = json.dumps({**json.loads(before), other: "2.3.4"})
    metadata(given, PUT, altered)
    try:
        code, said, _ = run("train", **given)
    finally:
        metadata(given, PUT, before)
    assert code == 2
    assert "a cluster of Ray " in said
    assert "2.3.4" in said
    assert "use the same on both sides" in said
