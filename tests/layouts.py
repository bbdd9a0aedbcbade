"""Tiny data in the exact layouts of published data sets, and the place of the real ones."""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 48, 32


def shared_data() -> Path:
    """Real data in the published layouts; the test is skipped where there is none."""
    places = [Path(__file__).parents[2] / "shared" / "data"]
    if "STTN_SHARED_DATA" in os.environ:
        places.insert(0, Path(os.environ["STTN_SHARED_DATA"]))
    for place in places:
        if place.is_dir():
            return place
    pytest.skip("real data is not here; STTN_SHARED_DATA names its folder")


def picture(number: int = 0, *, width: int = WIDTH, height: int = HEIGHT, seed: int = 0):
    """A smooth coloured pattern, uint8 [height, width, 3], that moves with the frame number."""
    phases = np.random.default_rng(seed).uniform(0, 2 * np.pi, size=3)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x + 2 * number) / 9 + a) + np.cos(y / 7 + a) for a in phases]
    return np.clip(128 + 50 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


def encoded(pixels, kind: str = "JPEG", **options) -> bytes:
    """A picture as the bytes of a file."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format=kind, **options)
    return data.getvalue()


def labels(number: int = 0, *, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A PNG with a palette: a box of object 1, one of object 2, a line that is ignored."""
    values = np.zeros((height, width), np.uint8)
    values[4:12, 2 + number % 8 : 14 + number % 8] = 1
    values[16:28, 20:40] = 2
    values[30] = 255
    image = Image.fromarray(values, mode=None).convert("P")
    image.putdata(values.ravel().tolist())
    image.putpalette([0, 0, 0, 236, 95, 103, 249, 145, 87] + [0] * 759)
    data = io.BytesIO()
    image.save(data, format="PNG")
    return data.getvalue()


def write_frames(folder: Path, numbers: Sequence[int], *, seed: int = 0, **size: int) -> None:
    """A folder of frames `00000.jpg` ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number:05d}.jpg").write_bytes(encoded(picture(number, seed=seed, **size)))


def write_labels(folder: Path, numbers: Sequence[int], **size: int) -> None:
    """A folder of label pictures `00000.png` ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number:05d}.png").write_bytes(labels(number, **size))


def write_youtube_vos(
    root: Path,
    videos: Mapping[str, Sequence[int]],
    *,
    variant: str = "train",
    annotated: Mapping[str, Sequence[int]] | None = None,
    **size: int,
) -> Path:
    """`root/<variant>/...` as YouTube-VOS publishes it: video -> numbers of its frames."""
    annotated = annotated or {}
    for seed, (video, numbers) in enumerate(videos.items()):
        write_frames(root / variant / "JPEGImages" / video, numbers, seed=seed, **size)
    for video, numbers in annotated.items():
        write_labels(root / variant / "Annotations" / video, numbers, **size)
    meta = {"videos": {video: {"objects": {}} for video in annotated}}
    (root / variant / "meta.json").write_text(json.dumps(meta))
    return root


def write_davis(
    root: Path,
    *,
    year: int = 2017,
    train: Sequence[str] = ("bear",),
    val: Sequence[str] = ("dog",),
    unlisted: Sequence[str] = (),
    frames: int = 6,
) -> Path:
    """DAVIS at 480p; the lists of 2016 name every frame with its labels."""
    for seed, video in enumerate([*train, *val, *unlisted]):
        write_frames(root / "JPEGImages" / "480p" / video, range(frames), seed=seed)
        write_labels(root / "Annotations" / "480p" / video, range(frames))
    sets = root / "ImageSets" / ("2017" if year == 2017 else "480p")
    sets.mkdir(parents=True)
    for split, videos in {"train": train, "val": val, "trainval": [*train, *val]}.items():
        lines = list(videos)
        if year == 2016:
            lines = [
                f"/JPEGImages/480p/{video}/{n:05d}.jpg /Annotations/480p/{video}/{n:05d}.png "
                for video in videos
                for n in range(frames)
            ]
        (sets / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return root


def write_zip(path: Path, members: Mapping[str, bytes], **options) -> Path:
    """A zip of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def write_sttn(
    root: Path,
    *,
    train: Mapping[str, int],
    test: Mapping[str, int] | None = None,
    inside: str = "",
    **size: int,
) -> Path:
    """STTN's own layout: video -> number of frames, in `inside` of each zip."""
    for seed, (video, frames) in enumerate({**train, **(test or {})}.items()):
        members = {
            f"{inside}{number:05d}.jpg": encoded(picture(number, seed=seed, **size))
            for number in range(frames)
        }
        write_zip(root / "JPEGImages" / f"{video}.zip", members)
    (root / "train.json").write_text(json.dumps(train))
    (root / "test.json").write_text(json.dumps(test or {}))
    return root
