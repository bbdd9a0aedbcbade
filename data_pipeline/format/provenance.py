"""The commit of this code, recorded beside everything that it makes."""

import os
import subprocess
from functools import cache
from pathlib import Path

UNKNOWN = "unknown"
# Tag of a run and of a registered version in MLflow: the digest of the data set they read.
DATA_DIGEST = "data_digest"


@cache
def commit() -> str:
    """Return the commit of this checkout, with `-dirty` when tracked files differ from it.

    An image has no checkout and names its commit in STTN_COMMIT. `unknown` without either.
    """
    if named := os.environ.get("STTN_COMMIT"):
        return named
    head = _git("rev-parse", "HEAD")
    if head is None:
        return UNKNOWN
    return head + ("-dirty" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
