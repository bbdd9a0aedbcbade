"""The `shard` command as a separate process, to be killed or disturbed."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.faults.processes import start_command


def start(
    videos: Sequence[Path], output: Path | str, **environment: str
) -> "subprocess.Popen[str]":
    """Start sharding video files, with about one shard for each."""
    return start_command(
        "data_pipeline/run.py", "shard", "--output", output, "--json", "--input", *videos,
        "--width", 192, "--height", 96, "--shard-megabytes", 1, "--workers", 2,
        **environment,
    )  # fmt: skip
