import tarfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_pipeline import manifest, masks, sample
from data_pipeline.clips import Clip, clip_order
from data_pipeline.door import UserError
from data_pipeline.reader import CorruptData, DataSet, read_clip
from data_pipeline.sources.video_files import decode, find
from tests.tiny import HEIGHT, WIDTH


def test_reader_gives_what_the_tar_holds(built):
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
    # Across a chunk of 32, out of order, each variant.
    for variant, kind in enumerate(video.mask_kinds):
        seed = masks.variant_seed(0, "video-0", variant)
        whole = masks.mask_sequence(kind, seed, 40, HEIGHT, WIDTH)
        assert np.array_equal(data.read_masks(video, variant, [35, 3, 31]), whole[[35, 3, 31]])


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
    row = next(r for r in data._rows.values() if r.id == "video-0")
    flip_byte(Path(own.uri) / video.shard, row.masks_offset + sum(row.chunk_bytes[0]) + 5)
    assert data.read_masks(video, 0, [0, 39]).shape[0] == 2
    with pytest.raises(CorruptData, match="mask 1 from frame 0"):
        data.read_masks(video, 1, [3])


def test_places_without_a_data_set(tmp_path):
    with pytest.raises(UserError, match="no data set at"):
        DataSet.open(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"has no manifest\.json"):
        DataSet.open(str(tmp_path))
    (tmp_path / manifest.MANIFEST).write_text("{}")
    with pytest.raises(UserError, match="is not the manifest of a data set"):
        DataSet.open(str(tmp_path))
    (tmp_path / manifest.MANIFEST).write_text('{"schema": 9}')
    with pytest.raises(UserError, match="schema 9, this version reads schema 1"):
        DataSet.open(str(tmp_path))


def test_frames_are_those_of_the_video(built, videos):
    data = DataSet.open(built.uri)
    (video,) = data.videos("test")
    (source,) = find([str(videos[0])], [])
    wanted = np.stack(list(decode(source, WIDTH, HEIGHT)))
    found = data.read_frames(video, range(video.frames))
    # Only the loss of JPEG is between them; a neighbouring frame is much further away.
    assert np.abs(found.astype(int) - wanted).mean() < 2
    assert np.abs(found[1:].astype(int) - wanted[:-1]).mean() > 4
