"""Commands as separate processes, their descendants, and how to kill them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 300  # after which a run hangs; a busy machine takes minutes


def start_command(path: str, *flags: object, **environment: str) -> "subprocess.Popen[str]":
    """Start a command, `mlops/evaluate.py` say, with these variables beside this process's own."""
    return subprocess.Popen(
        [sys.executable, path, *map(str, flags)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1", **environment},
    )


def finish(process: "subprocess.Popen[str]", seconds: float = SECONDS) -> tuple[int, str, str]:
    """Wait for the end of a process; returns exit code, stdout, stderr."""
    try:
        out, err = process.communicate(timeout=seconds)
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


def victims(process, kind, worker):
    """Processes of a command to kill: its driver, the "node" with everything on it, or a worker.

    `worker` begins the name that Ray gives to one.
    """
    if kind == "driver":
        return [process.pid]
    below = descendants(process.pid)
    if kind == "node":
        return [pid for pid, command in below if "raylet" in command.split("\0")[0]]
    return [pid for pid, command in below if command.startswith(worker)][:1]


def kill(pids):
    """SIGKILL to each; whether any of them existed."""
    killed = False
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            killed = True
        except ProcessLookupError:
            continue
    return killed


def free_port():
    """A free port of loopback; another process could take it before it is used."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
