"""The log of a job is in the storage, whatever happened to its command."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.faults.processes import ROOT


@pytest.fixture
def keeping(tmp_path):
    """Start the command as Ray starts an entrypoint: its output is a file."""
    started = []

    def start(code, *flags, storage=tmp_path / "runs"):
        with (tmp_path / "job-driver-sttn-train-first-x7k2p.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "k8s/keep_log.py", *flags, "--", sys.executable, "-uc", code],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "STTN_STORAGE": str(storage), "PYTHONSAFEPATH": "1"},
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def kept(tmp_path):
    def read():
        file = tmp_path / "runs/logs/sttn-train-first-x7k2p.log"
        return file.read_text() if file.exists() else ""

    return read


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_is_kept_with_the_exit_code_passed_on(keeping, kept):
    assert keeping("import sys; print('out'); sys.exit('why it failed')").wait(60) == 1
    assert kept() == "out\nwhy it failed\n"


def test_a_command_that_is_killed_leaves_its_log_and_the_reason(keeping, kept):
    code = "import os, signal; print('out'); os.kill(os.getpid(), signal.SIGKILL)"
    assert keeping(code).wait(60) == 137
    assert kept() == f"out\n{sys.executable} was ended by SIGKILL: out of memory?\n"


def test_it_is_kept_while_the_command_runs_for_its_head_may_be_lost(keeping, kept):
    process = keeping("import time; print('out'); time.sleep(600)", "--every-seconds", "0.1")
    try:
        until(lambda: kept() == "out\n")
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM  # the command got it too


def test_a_storage_that_fails_is_said_and_ends_nothing(keeping, tmp_path):
    (tmp_path / "file").write_text("")
    assert keeping("print('out')", storage=tmp_path / "file" / "runs").wait(60) == 0
    said = (tmp_path / "job-driver-sttn-train-first-x7k2p.log").read_text()
    assert said.startswith("out\nthe log is not kept at ")


def test_a_command_that_is_not_there_is_a_mistake_in_one_line():
    done = subprocess.run(
        [sys.executable, "k8s/keep_log.py", "--", "sttn-trian"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "sttn-trian cannot be started" in done.stderr
