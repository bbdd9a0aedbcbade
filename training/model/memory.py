"""What a forward pass without gradients needs, against what the device has left."""

from pathlib import Path

import torch

from .generator import SCALE

# Feature maps a frame at the widest moment: what goes into a block, queries, keys and values, what
# was seen, cut and joined, and the scores (measured on a CPU: 6 to 8).
_MAPS = 8


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
    known = [size for size in (_of_machine(), _of_container()) if size is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _of_container() -> int | None:
    """The limit of this control group (version 2); None without one."""
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return None
    return int(limit) if limit.isdecimal() else None
