import tarfile
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.format import manifest, sample
from data_pipeline.format.catalogue import (
    CATALOGUE,
    OK,
    REJECTED,
    FrameRow,
    VideoRow,
    encode_catalogue,
    encode_index,
    index_path,
)
from data_pipeline.format.manifest import File, Manifest
from data_pipeline.read.cache import CorruptData, NodeCache
from data_pipeline.read.clips import Clip, clip_order
from data_pipeline.read.reader import DataSet, Video, read_clip
from data_pipeline.storage import lake
from tests.tiny import HEIGHT, WIDTH


def test_the_reader_returns_the_contents_of_the_tar(built):
    data = DataSet.open(built.uri)
    assert (data.width, data.height, data.digest) == (WIDTH, HEIGHT, built.digest)
    (video,) = data.videos("test")
    assert (video.id, video.frames, video.fps) == ("video-0", 40, Fraction(25))
    assert video.mask_kinds == ("stationary", "moving", "stationary", "moving")
    with tarfile.open(Path(built.uri) / video.shard) as tar:
        for frame in (0, 17, 39):
            member = tar.extractfile(sample.frame_member("video-0", frame))
            assert member is not None
            wanted = sample.decode_frame(member.read())
            assert np.array_equal(data.read_frames(video, [frame])[0], wanted)
        member = tar.extractfile(sample.masks_member("video-0"))
        assert member is not None
        bits = pa.CompressedInputStream(pa.BufferReader(member.read()), "zstd").read()
    rows = np.frombuffer(bits, np.uint8).reshape(4, 40, HEIGHT * WIDTH // 8)
    whole = np.unpackbits(rows, axis=2).reshape(4, 40, HEIGHT, WIDTH)
    assert all(len(np.unique(masks)) == 2 for masks in whole)
    # Across a chunk of 32, out of order, each variant.
    for variant, wanted in enumerate(whole):
        found = data.read_masks(video, variant, [35, 3, 31])
        assert np.array_equal(found, wanted[[35, 3, 31]])


def test_clips_and_the_flip_of_their_frames(built):
    data = DataSet.open(built.uri)
    videos = data.videos("train")
    order = clip_order(data, "train", seed=0, frames_per_clip=5, window_shards=4)
    frames, holes = read_clip(data, videos[order.clip(3).video], order.clip(3))
    assert frames.shape == (5, HEIGHT, WIDTH, 3)
    assert holes.shape == (5, HEIGHT, WIDTH)
    plain, flipped = (Clip(0, 0, (1, 2, 3), True, flip, 1) for flip in (False, True))
    a, mask_a = read_clip(data, videos[0], plain)
    b, mask_b = read_clip(data, videos[0], flipped)
    assert np.array_equal(a[:, :, ::-1], b)
    assert np.array_equal(mask_a, mask_b)
    with pytest.raises(UserError, match=r"no split 'tran' \(did you mean 'train'\?\)"):
        data.videos("tran")


def test_a_corrupt_frame_is_named(own, flip_byte):
    data = DataSet.open(own.uri)
    (video,) = data.videos("test")
    index = pq.read_table(Path(own.uri) / "index/test-00000.parquet").to_pylist()
    start, size = index[7]["offset"], index[7]["size"]
    flip_byte(Path(own.uri) / video.shard, start + size // 2)
    assert data.read_frames(video, [6, 8]).shape[0] == 2
    with pytest.raises(CorruptData) as caught:
        data.read_frames(video, [6, 7])
    words = f"shard {video.shard}, video video-0, frame 7: bytes {start} to {start + size}"
    assert words in str(caught.value)


def test_a_corrupt_mask_is_named(own, flip_byte):
    data = DataSet.open(own.uri)
    (video,) = data.videos("test")
    rows = pq.read_table(Path(own.uri) / "catalogue.parquet").to_pylist()
    row = next(row for row in rows if row["id"] == "video-0")
    flip_byte(Path(own.uri) / video.shard, row["masks_offset"] + sum(row["chunk_bytes"][0]) + 5)
    assert data.read_masks(video, 0, [0, 39]).shape[0] == 2
    with pytest.raises(CorruptData, match="mask 1 from frame 0"):
        data.read_masks(video, 1, [3])


def test_places_without_a_data_set_are_refused(tmp_path):
    with pytest.raises(UserError, match="no data set at"):
        DataSet.open(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"has no manifest\.json"):
        DataSet.open(str(tmp_path))
    (tmp_path / manifest.MANIFEST).write_text("{}")
    with pytest.raises(UserError, match="is not the manifest of a data set"):
        DataSet.open(str(tmp_path))
    (tmp_path / manifest.MANIFEST).write_text('{"schema": 9}')
    with pytest.raises(UserError, match="schema 9, this version reads schema 2"):
        DataSet.open(str(tmp_path))


def test_frames_in_any_order_and_number(built):
    data = DataSet.open(built.uri)
    (video,) = data.videos("test")
    whole = data.read_frames(video, range(40))
    for wanted in ([0], [39, 0, 1, 2, 2], [5, 6, 8, 9], list(range(3, 40)), []):
        assert np.array_equal(data.read_frames(video, wanted), whole[wanted])
    for outside in ([-1], [38, 39, 40]):
        with pytest.raises(AssertionError, match="video-0"):
            data.read_frames(video, outside)


def test_consecutive_frames_are_read_in_bounded_ranges(built, monkeypatch):
    data = DataSet.open(built.uri)
    (video,) = data.videos("test")
    plain, sizes = lake.read_range, []

    def read_range(uri, start, size):
        sizes.append(size)
        return plain(uri, start, size)

    monkeypatch.setattr(lake, "read_range", read_range)
    for frames, reads in ((range(5), 1), ([1, 2, 5, 6], 2), (range(40), 2)):
        sizes.clear()
        data.read_frames(video, frames)
        assert len(sizes) == reads


@pytest.fixture
def many(tmp_path):
    """Tables of a set of several shards and splits, one video left out; no tars."""
    rows, places, payload = [], {}, {}
    for shard, (split, lengths) in {
        "test-00000": ("test", (3, 5)),
        "train-00000": ("train", (4, 2, 6)),
        "train-00001": ("train", (7,)),
    }.items():
        tar, frames = f"shards/{shard}-00000000.tar", []
        for number, length in enumerate(lengths):
            key = f"{shard}-{number}"
            begin = 512 + 1000 * len(frames)
            frames += [FrameRow(key, f, begin + 1000 * f, 900, 7) for f in range(length)]
            chunks = [[10, 20], [30, 40]]
            row = VideoRow(
                id=key,
                split=split,
                status=OK,
                frames=length,
                fps="30000/1001",
                shard=tar,
                masks_offset=100 * number,
                mask_kinds=["moving", "stationary"],
                chunk_bytes=chunks,
                chunk_crc32=[[1, 2], [3, 4]],
            )
            rows += [row, VideoRow(id=f"bad-{key}", split=split, status=REJECTED, reason="short")]
        payload[index_path(shard)] = encode_index(tar, frames)
        places |= {frame.video + f"/{frame.frame}": frame.offset for frame in frames}
    payload[CATALOGUE] = encode_catalogue(rows)
    files = {path: File(len(data), sha256(data).hexdigest()) for path, data in payload.items()}
    for path, data in payload.items():
        lake.write_bytes(str(tmp_path / path), data)
    settings = {"width": WIDTH, "height": HEIGHT}
    digest = manifest.digest_of(settings, files)
    manifest.create(str(tmp_path), Manifest(settings, files, digest, {}))
    return DataSet.open(str(tmp_path)), places


def test_tables_round_trip(many):
    data, places = many
    assert data.splits == ("test", "train")
    videos = [video for split in data.splits for video in data.videos(split)]
    assert [video.frames for video in videos] == [3, 5, 4, 2, 6, 7]
    assert videos[3] == Video(
        "train-00000-1",
        "train",
        2,
        Fraction(30000, 1001),
        "shards/train-00000-00000000.tar",
        ("moving", "stationary"),
    )
    found = {
        f"{video.id}/{frame}": data._parts(video, range(frame, frame + 1))[0].start
        for video in videos
        for frame in range(video.frames)
    }
    assert found == places
    part = data._catalogue.chunk(videos[3], 1, 1)
    assert (part.start, part.size, part.crc32) == (100 + 10 + 20 + 30, 40, 4)


def test_a_replaced_table_is_refused(own):
    (Path(own.uri) / "index/train-00000.parquet").write_bytes(b"something else")
    data = DataSet.open(own.uri)
    with pytest.raises(CorruptData, match=r"index/train-00000\.parquet is not the file"):
        data.read_frames(data.videos("train")[0], [0])
    (Path(own.uri) / "catalogue.parquet").unlink()
    with pytest.raises(CorruptData, match=r"catalogue\.parquet is missing"):
        DataSet.open(own.uri)


@pytest.fixture
def cached(own, tmp_path):
    """A data set read through a cache, and the cached copies by the files they copy."""
    data = DataSet.open(own.uri, NodeCache(tmp_path / "cache", 10**8))
    payload = manifest.load(own.uri).payload
    return data, {path: tmp_path / "cache" / file.sha256 for path, file in payload.items()}


def test_a_damaged_copy_is_fetched_again(cached, flip_byte):
    data, copies = cached
    (video,) = data.videos("test")
    whole, holes = data.read_frames(video, range(40)), data.read_masks(video, 0, range(40))
    start = data._parts(video, range(9, 10))[0].start
    flip_byte(copies[video.shard], start + 50)
    assert np.array_equal(data.read_frames(video, range(40)), whole)
    flip_byte(copies[video.shard], data._catalogue.chunk(video, 0, 0).start + 5)
    assert np.array_equal(data.read_masks(video, 0, range(40)), holes)
    copies[video.shard].write_bytes(b"short")
    assert np.array_equal(data.read_frames(video, range(40)), whole)
    flip_byte(copies["catalogue.parquet"], 99)
    assert DataSet.open(data.uri, data.files.cache).videos("test") == (video,)


def test_a_damaged_store_is_reported_although_cached(cached, flip_byte):
    data, copies = cached
    (video,) = data.videos("test")
    whole = data.read_frames(video, range(40))
    start = data._parts(video, range(9, 10))[0].start
    flip_byte(Path(data.uri) / video.shard, start + 50)
    assert np.array_equal(data.read_frames(video, range(40)), whole)  # the copy is intact
    copies[video.shard].unlink()
    with pytest.raises(CorruptData, match="has the sha256"):
        data.read_frames(video, [3])
    assert not copies[video.shard].exists()
    (Path(data.uri) / video.shard).unlink()
    with pytest.raises(CorruptData, match="is missing"):
        data.read_frames(video, [3])


def test_a_cache_smaller_than_a_shard_is_refused(own, tmp_path):
    with pytest.raises(UserError, match=r"test-00000.* the cache .* may hold 1000.* STTN_CACHE_GB"):
        DataSet.open(own.uri, NodeCache(tmp_path / "cache", 1000))


def test_frames_match_the_source_video(built, videos):
    data = DataSet.open(built.uri)
    (video,) = data.videos("test")
    with av.open(str(videos[0])) as container:
        wanted = np.stack([one.to_ndarray(format="rgb24") for one in container.decode(video=0)])
    found = data.read_frames(video, range(video.frames)).astype(int)
    # The motion repeats after 32 frames.
    distances = [[np.abs(one - other).mean() for other in wanted[:30]] for one in found[:30]]
    assert np.argmin(distances, axis=1).tolist() == list(range(30))
    assert np.diag(distances).max() < 4  # loss by JPEG and another colour conversion
