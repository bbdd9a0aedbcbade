"""Digests that belong to one lock file and one kind of machine.

They change with the format of a data set, or with a library that affects its bytes: then they
are updated, knowing that every data set built before has another digest.
"""

import importlib.metadata
import platform
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import shard_tiny, write_videos

GOLDEN = {
    "videos": "a49f80bf5eb043dee026185a412d1cc0385612097f570ba0c26cb69b9a806591",
    "pictures": "e3dfb459a1ca5bca7e4ff1331dc4e585ef509143afd5fcdb2052f9cc9c6321de",
}
SHAPE_THE_BYTES = ("av", "numpy", "pillow", "pyarrow")


@pytest.fixture(scope="module")
def as_locked():
    """Skips where the libraries are not those of the lock file."""
    lock = (Path(__file__).parents[2] / "requirements.lock").read_text()
    locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", lock, re.MULTILINE))
    for name in SHAPE_THE_BYTES:
        if importlib.metadata.version(name) != locked[name]:
            pytest.skip(f"{name} {importlib.metadata.version(name)} is not {locked[name]}")
    if platform.machine() != "x86_64":
        pytest.skip(f"golden digests are those of x86_64, this is {platform.machine()}")


def write_pictures(root):
    """YouTube-VOS in small: three videos of 64x48, two with an annotated square that moves."""
    y, x = np.mgrid[:48, :64]
    for number, name in enumerate(("aa", "bb", "cc")):
        frames, labels = root / "train/JPEGImages" / name, root / "train/Annotations" / name
        frames.mkdir(parents=True)
        for frame in range(8):
            waves = [(x * (c + 2) + y * (number + 1) + 5 * frame) % 256 for c in range(3)]
            picture = np.stack(waves, axis=-1).astype(np.uint8)
            Image.fromarray(picture).save(frames / f"{5 * frame:05d}.png")
            if name != "cc" and frame % 2 == 0:
                labels.mkdir(parents=True, exist_ok=True)
                square = np.zeros((48, 64), np.uint8)
                square[8 + frame : 24 + frame, 10 + 2 * frame : 30 + 2 * frame] = 1
                Image.fromarray(square).save(labels / f"{5 * frame:05d}.png")
    return root


@pytest.mark.usefixtures("as_locked", "ray_for_all")
def test_the_digest_of_videos_is_pinned(tmp_path):
    built = shard_tiny(tmp_path / "v1", write_videos(tmp_path / "videos", (12, 9)))
    assert built.digest == GOLDEN["videos"]


@pytest.mark.usefixtures("as_locked", "ray_for_all")
def test_the_digest_of_pictures_and_object_masks_is_pinned(tmp_path):
    root = write_pictures(tmp_path / "youtube-vos")
    built = shard_tiny(tmp_path / "v1", [root], source="youtube-vos", held_out=(), objects=2)
    assert built.digest == GOLDEN["pictures"]
