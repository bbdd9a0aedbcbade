import hashlib
import io
import json
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader
from webdataset.tariterators import group_by_keys, tar_file_expander

from data_pipeline.cli.command import UserError
from data_pipeline.format import manifest
from data_pipeline.read.cache import CorruptData, NodeCache
from data_pipeline.read.reader import DataSet
from data_pipeline.read.stream import stream
from data_pipeline.storage import lake
from tests.tiny import HEIGHT, WIDTH

IDS = ("video-0", "video-1", "video-2")


@pytest.fixture
def alone(monkeypatch):
    """One rank, independent of the environment."""
    for name in ("RANK", "WORLD_SIZE", "WORKER", "NUM_WORKERS"):
        monkeypatch.delenv(name, raising=False)


pytestmark = pytest.mark.usefixtures("alone")


def shards(uri):
    return sorted(str(path) for path in Path(uri).glob("shards/*.tar"))


def test_streamed_videos_equal_those_of_the_reader(built):
    data = DataSet.open(built.uri)
    videos = {video.id: video for split in data.splits for video in data.videos(split)}
    samples = {one["__key__"]: one for one in stream(built.uri)}
    assert tuple(sorted(samples)) == IDS
    for key, one in samples.items():
        video = videos[key]
        assert one["meta"]["split"] == video.split
        assert one["frames"].shape == (video.frames, HEIGHT, WIDTH, 3)
        assert np.array_equal(one["frames"], data.read_frames(video, range(video.frames)))
        assert one["masks"].shape == (4, video.frames, HEIGHT, WIDTH)
        for variant, masks in enumerate(one["masks"]):
            assert np.array_equal(masks, data.read_masks(video, variant, range(video.frames)))


def test_streaming_one_split_as_jpegs(built):
    (one,) = stream(built.uri, "test", decode=False)
    assert (one["__key__"], len(one["frames"])) == ("video-0", 40)
    assert Image.open(io.BytesIO(one["frames"][39])).size == (WIDTH, HEIGHT)
    with pytest.raises(UserError, match=r"no split 'tst' \(did you mean 'test'\?\)"):
        stream(built.uri, "tst")


def test_the_stream_composes_with_webdataset_pipelines(built):
    pipeline = stream(built.uri, decode=False).shuffle(10).map(lambda one: len(one["frames"]))
    assert sorted(pipeline) == [9, 12, 40]
    assert sorted(pipeline) == [9, 12, 40]  # and again


def test_ranks_and_workers_share_the_shards(built, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    found = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        found.append({one["__key__"] for one in stream(built.uri, decode=False)})
    assert all(found)
    assert sorted([*found[0], *found[1]]) == list(IDS)
    monkeypatch.delenv("RANK")
    workers = DataLoader(
        stream(built.uri, decode=False),
        batch_size=None,
        num_workers=2,
        multiprocessing_context="spawn",
    )
    assert sorted(one["__key__"] for one in workers) == list(IDS)


def test_an_open_data_set_can_be_pickled(built, tmp_path):
    data = DataSet.open(built.uri, NodeCache(tmp_path / "cache", 10**8))
    (video,) = data.videos("test")
    again = pickle.loads(pickle.dumps(data))
    assert np.array_equal(again.read_frames(video, [7]), data.read_frames(video, [7]))


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_no_video_of_a_damaged_shard_is_returned(own, damage, flip_byte):
    path = Path(shards(own.uri)[0])
    size = path.stat().st_size
    if damage == "flipped":
        flip_byte(path, size // 2)
    elif damage == "cut":
        # In a member's header, which tar readers take for the end of the archive.
        with tarfile.open(path) as tar:
            path.write_bytes(path.read_bytes()[: tar.getmembers()[30].offset + 100])
        with path.open("rb") as file:
            (cut,) = group_by_keys(tar_file_expander([{"url": "", "stream": file}]))
        assert [name for name in cut if name[0] == "f"] == [f"f{i:05d}.jpg" for i in range(30)]
    else:
        path.unlink()
    with pytest.raises(CorruptData, match=path.name):
        next(iter(stream(own.uri, "test")))
    assert list(stream(own.uri, "train", decode=False))


def test_a_shard_that_lacks_frames_of_the_catalogue(own):
    # Both tar and manifest say the same, only the catalogue knows of more.
    path = Path(shards(own.uri)[0])
    there = manifest.load(own.uri)
    data = bytes(10240)  # an empty tar
    path.write_bytes(data)
    payload = dict(there.payload)
    payload[f"shards/{path.name}"] = manifest.File(len(data), hashlib.sha256(data).hexdigest())
    (Path(own.uri) / manifest.MANIFEST).unlink()
    made = manifest.Manifest(there.settings, payload, "0" * 64, {})
    manifest.create(own.uri, made)
    with pytest.raises(CorruptData, match="0 frames could be read, the catalogue says 40"):
        list(stream(own.uri, "test"))


def test_streaming_from_s3(built, s3, monkeypatch, tmp_path):
    uri = lake.join(s3, "streamed/v1")
    for name in lake.list_files(built.uri):
        lake.upload(Path(built.uri) / name, lake.join(uri, name))
    monkeypatch.setenv("STTN_CACHE", str(tmp_path / "cache"))
    near = {one["__key__"]: one for one in stream(built.uri)}
    for gigabytes in ("1", "0"):
        monkeypatch.setenv("STTN_CACHE_GB", gigabytes)
        far = {one["__key__"]: one for one in stream(uri)}
        assert sorted(far) == sorted(near)
        for key, one in far.items():
            assert np.array_equal(one["frames"], near[key]["frames"])
            assert np.array_equal(one["masks"], near[key]["masks"])


PLAIN = """
import hashlib, json, sys
import webdataset as wds
for one in wds.WebDataset(sys.argv[1:], shardshuffle=False).decode("rgb8"):
    pixels = hashlib.sha256(one["f00005.jpg"].tobytes()).hexdigest()
    print(json.dumps([one["__key__"], one["meta.json"], pixels]))
"""


def test_plain_webdataset_reads_the_shards(built):
    command = [sys.executable, "-c", PLAIN, *shards(built.uri)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = sorted(map(json.loads, said.splitlines()))
    wanted = sorted(
        [one["__key__"], one["meta"], hashlib.sha256(one["frames"][5].tobytes()).hexdigest()]
        for one in stream(built.uri)
    )
    assert found == wanted


def test_plain_tar_reads_the_shards(built, tmp_path):
    for shard in shards(built.uri):
        subprocess.run(["tar", "-xf", shard, "-C", tmp_path], check=True)
    (one,) = stream(built.uri, "test")
    assert json.loads((tmp_path / "video-0.meta.json").read_text()) == one["meta"]
    frames = sorted(tmp_path.glob("video-0.f*.jpg"))
    assert len(frames) == 40
    assert np.array_equal(np.asarray(Image.open(frames[39])), one["frames"][39])
