"""Memory that a forward pass without gradients needs, and that a device has left."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from .generator import SCALE

# Feature maps a frame at the widest moment: what goes into a block, queries, keys and values, what
# was seen, cut and joined, and the scores (measured on a CPU: 6 to 8).
_MAPS = 8

_PROC, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


class _Version(NamedTuple):
    """Names of one version of control groups."""

    root: str
    limit: str
    usage: str
    cache: str
    """Line of memory.stat: pages of files that can be dropped."""


_VERSIONS = {  # by the controllers of a line of /proc/self/cgroup
    "": _Version("", "memory.max", "memory.current", "inactive_file"),
    "memory": _Version(
        "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    ),
}


def window_bytes(frames: int, height: int, width: int, channels: int) -> int:
    """Bytes that the generator needs to inpaint a window, in float32.

    Args:
        frames: T, neighbours and references together.
        height: of a frame, pixels.
        width: of a frame, pixels.
        channels: C of the generator.
    """
    return _MAPS * 4 * frames * channels * (height // SCALE) * (width // SCALE)


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where the system does not say."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    known = [size for size in (_of_machine(), *_of_groups()) if size is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _of_groups() -> Iterator[int]:
    """Bytes left in each control group around this process that has a limit."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version = _VERSIONS.get("memory" if "memory" in controllers.split(",") else controllers)
        if version is None:
            continue
        # A container may be shown its path on the host, and only the folder of its own group.
        inside = Path(path.lstrip("/"))
        for part in (inside, *inside.parents):
            left = _left(_GROUPS / version.root / part, version)
            if left is not None:
                yield left


def _left(folder: Path, names: "_Version") -> int | None:
    """The limit of one group less what is used, of which old pages of files count as free."""
    try:
        limit = (folder / names.limit).read_text().strip()
        usage = int((folder / names.usage).read_text())
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if not limit.isdecimal():  # "max"
        return None
    return max(0, int(limit) - max(0, usage - int(counts.get(names.cache, 0))))
