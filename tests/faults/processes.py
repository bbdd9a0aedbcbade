"""Doors as processes of their own, and what runs below them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 150  # after which a run hangs


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for its end; returns exit code, stdout, stderr."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, out, err


def descendants(pid):
    """(pid, command) of all processes below one."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                commands[int(entry.name)] = (entry / "cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(stat.rsplit(")", 1)[1].split()[1])
    below, found = {pid}, []
    grown = True
    while grown:
        more = {child for child, parent in parents.items() if parent in below} - below
        grown = bool(more)
        below |= more
        found += [(child, commands[child]) for child in sorted(more)]
    return found
