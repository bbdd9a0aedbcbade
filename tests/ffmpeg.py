"""ffmpeg itself: makes odd files for tests, and is the reference for what a player shows."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def ffmpeg(*args: object) -> str:
    """Run ffmpeg; returns its stderr, which describes its inputs and outputs."""
    done = subprocess.run(
        [FFMPEG, "-hide_banner", "-nostdin", "-y", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def said_about(path: Path) -> str:
    """ffmpeg's description of a file: streams, colours, aspect, duration, chapters."""
    return subprocess.run(
        [FFMPEG, "-hide_banner", "-nostdin", "-i", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
    ).stderr


def shown(path: Path, *filters: str) -> np.ndarray:
    """The frames of a file as a player shows them, uint8 [T,H,W,3]; square pixels are not made."""
    chain = ("-vf", ",".join(filters)) if filters else ()
    done = subprocess.run(
        [FFMPEG, "-v", "info", "-nostdin", "-i", str(path), *chain, "-fps_mode", "passthrough",
         "-sws_flags", "bicubic+accurate_rnd+full_chroma_int+bitexact",
         "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True,
        timeout=120,
    )  # fmt: skip
    said = done.stderr.decode()
    assert done.returncode == 0, said[-2000:]
    width, height = map(int, re.findall(r"rawvideo.*?, (\d+)x(\d+)", said)[-1])
    return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width, 3)
