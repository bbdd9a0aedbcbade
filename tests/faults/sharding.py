"""The `shard` door as a process of its own, to be killed or hindered."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SECONDS = 150  # after which a run hangs


def start(videos: Sequence[Path], output: Path | str) -> "subprocess.Popen[str]":
    """Start to shard video files; about a shard for each."""
    command = [sys.executable, "data_pipeline/run.py", "shard", "--output", str(output), "--json"]
    command += ["--input", *map(str, videos), "--width", "192", "--height", "96"]
    command += ["--shard-megabytes", "1", "--workers", "2"]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for its end; returns exit code, stdout, stderr."""
    try:
        out, err = process.communicate(timeout=_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, out, err
