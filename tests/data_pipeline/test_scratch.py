"""Scratch folders are removed with their process, even a killed one."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data_pipeline.cli import scratch
from data_pipeline.cli.scratch import scratch_folder

ROOT = Path(__file__).parents[2]
HOLDS = """
import sys, time
from data_pipeline.cli.scratch import lasting_folder, scratch_folder
lasting_folder("model")
with scratch_folder("test") as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The temporary folder of this test, in this process and in those it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(scratch.tempfile, "tempdir", None)
    return tmp_path


def holding(seconds=60):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(seconds)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    folder = process.stdout.readline().strip()
    process.stdout.close()
    return process, Path(folder)


def command():
    """A command that has nothing to do with scratch folders."""
    done = subprocess.run(
        [sys.executable, "data_pipeline/run.py", "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0


def test_a_process_removes_its_scratch_folders(temporary):
    process, folder = holding(seconds=0)
    assert folder.parent == temporary
    assert process.wait(20) == 0
    assert list(temporary.iterdir()) == []


def test_leftovers_of_a_killed_process_are_removed_by_the_next_command(temporary):
    other = temporary / "sttn-journal-0"
    other.mkdir()
    dead, left = holding()
    dead.send_signal(signal.SIGKILL)
    dead.wait(20)
    alive, kept = holding()
    try:
        assert left.is_dir() is False  # it swept too
        dead, left = holding()
        dead.kill()
        dead.wait(20)
        assert left.is_dir()
        command()
        assert not left.exists()
        assert (kept / "deep" / "file").read_text() == "x"
        assert other.is_dir()
    finally:
        alive.kill()
        alive.wait(20)
    command()
    assert list(temporary.iterdir()) == [other]


def test_a_symbolic_link_with_a_scratch_name_is_not_followed(temporary, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").touch()
    (temporary / "sttn-scratch-x").symlink_to(elsewhere)
    command()
    assert (elsewhere / "file").exists()


def test_scratch_folders_are_safe_from_concurrent_cleanup():
    broken = []

    def work():
        try:
            for _ in range(50):
                with scratch_folder("race") as folder:
                    (folder / "file").touch()
                    scratch.sweep()
                    assert (folder / "file").exists()
        except Exception as error:
            broken.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == []
