"""The `shard` door as a process of its own, to be killed or hindered."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.processes import ROOT


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
