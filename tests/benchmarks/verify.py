"""How fast `verify` is, against `sha256sum` over the same files in the same run.

python tests/benchmarks/verify.py [--json]

The data set is made with the true encoders, in a temporary folder: 16 shards of 40 videos of 30
frames of 20 to 60 KB. Both read it from the page cache, turn about; the median counts.
"""

import argparse
import io
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np

from data_pipeline.build.writer import Tar
from data_pipeline.format import catalogue, manifest, sample
from data_pipeline.format.catalogue import FrameRow, VideoRow
from data_pipeline.format.manifest import File, Manifest
from data_pipeline.inspection.verify import verify

sys.path.insert(0, str(Path(__file__).parents[2]))  # the tests are not installed
from tests.benchmarks.figures import Figure, show

SHARDS, VIDEOS, FRAMES = 16, 40, 30
ROUNDS = 5


def make(root: Path) -> int:
    """Write the data set; returns its bytes."""
    random = np.random.default_rng(0)
    noise = random.bytes(2**20)
    payload: dict[str, File] = {}
    rows: list[VideoRow] = []

    def put(path: str, data: bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
        payload[path] = File(len(data), sha256(data).hexdigest())

    for number in range(SHARDS):
        name, path = f"train-{number:05d}", f"shards/train-{number:05d}-00000000.tar"
        file, frames = io.BytesIO(), list[FrameRow]()
        tar = Tar(file)
        for video in range(VIDEOS):
            rows.append(add_video(tar, frames, f"v{number:02d}-{video:02d}", path, noise, random))
        tar.close()
        put(path, file.getvalue())
        put(catalogue.index_path(name), catalogue.encode_index(path, frames))
    put(catalogue.CATALOGUE, catalogue.encode_catalogue(rows))
    made = Manifest({}, payload, manifest.digest_of({}, payload), {})
    manifest.create(str(root), made)
    return sum(one.size for one in payload.values())


def add_video(
    tar: Tar,
    frames: list[FrameRow],
    video: str,
    shard: str,
    noise: bytes,
    random: np.random.Generator,
) -> VideoRow:
    """Append a video whose pictures and masks are noise."""
    total = 0
    for frame, size in enumerate(random.integers(20_000, 60_000, FRAMES).tolist()):
        data = noise[size : 2 * size]
        offset = tar.add(sample.frame_member(video, frame), data)
        frames.append(FrameRow(video, frame, offset, size, zlib.crc32(data)))
        total += size
    chunk = noise[:10_000]
    offset = tar.add(sample.masks_member(video), chunk)
    about = {"split": "train", "frames": FRAMES, "width": 432, "height": 240, "fps": "25"}
    variants = [sample.Variant("moving", 0)]
    meta = sample.encode_meta(
        video=video, source={}, variants=variants, chunk_bytes=((len(chunk),),), **about
    )
    tar.add(sample.meta_member(video), meta)
    return VideoRow(
        id=video,
        status=catalogue.OK,
        shard=shard,
        frame_bytes=total,
        masks_offset=offset,
        masks_size=len(chunk),
        masks_crc32=zlib.crc32(chunk),
        mask_kinds=["moving"],
        chunk_bytes=[[len(chunk)]],
        chunk_crc32=[[zlib.crc32(chunk)]],
        **about,
    )


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON line per figure")
    as_json = parser.parse_args().json
    with tempfile.TemporaryDirectory(prefix="sttn-verify-") as folder:
        root = Path(folder) / "bench" / "v1"
        megabytes = make(root) / 1e6
        files = sorted(str(path) for path in root.rglob("*") if path.name != manifest.MANIFEST)
        files = [path for path in files if Path(path).is_file()]
        plain, ours = [], []
        for _ in range(ROUNDS):
            plain.append(seconds(lambda: subprocess.check_output(["sha256sum", *files])))
            ours.append(seconds(lambda: verify(str(root))))
        assert verify(str(root)).differences == ()
    value, against = (megabytes / statistics.median(times) for times in (ours, plain))
    words = f"sha256sum, {against:.0f} MB/s"
    figure = Figure(f"verify of {megabytes:.0f} MB", value, "MB/s", words, value / against)
    show([figure], json_lines=as_json)


if __name__ == "__main__":
    main()
