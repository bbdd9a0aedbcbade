import io
import tarfile

import numpy as np
import pyarrow as pa
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline import sample
from data_pipeline.writer import Tar


@given(st.integers(1, 70), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_masks_come_back_chunk_by_chunk(frames, height, width, variants):
    rng = np.random.default_rng(frames)
    masks = rng.integers(0, 2, size=(variants, frames, height, width), dtype=np.uint8)
    packed = sample.encode_masks(masks)
    start = 0
    for variant in range(variants):
        for chunk, size in enumerate(packed.sizes[variant]):
            count = sample.frames_of_chunk(chunk, frames)
            data = packed.data[start : start + size]
            first = chunk * sample.FRAMES_PER_CHUNK
            wanted = masks[variant, first : first + count]
            assert np.array_equal(sample.decode_mask_chunk(data, count, height, width), wanted)
            start += size
    assert start == len(packed.data)
    assert sample.chunk_of(frames - 1)[0] == len(packed.sizes[0]) - 1


def test_the_whole_mask_member_is_one_zstd_file():
    masks = np.random.default_rng(0).integers(0, 2, size=(2, 40, 6, 7), dtype=np.uint8)
    packed = sample.encode_masks(masks)
    # Like `zstd -d`: frame after frame until the end.
    with pa.CompressedInputStream(pa.BufferReader(packed.data), "zstd") as stream:
        bits = stream.read()
    wanted = np.packbits(masks.reshape(80, 42), axis=1)
    assert bits == wanted.tobytes()


def test_frames_come_back_nearly():
    y, x = np.mgrid[:48, :64]
    frame = np.stack([4 * x, 4 * y, 255 - 4 * x], axis=-1).clip(0, 255).astype(np.uint8)
    data = sample.encode_frame(frame)
    assert data == sample.encode_frame(frame)
    found = sample.decode_frame(data)
    assert found.shape == frame.shape
    assert np.abs(found.astype(int) - frame).mean() < 2
    with pytest.raises(OSError, match=r"(?i)truncated"):
        sample.decode_frame(data[: len(data) // 2])


def test_ids_are_safe_in_a_tar():
    assert sample.safe_id("my video.final (1)") == "my_video_final__1_"
    longest = sample.safe_id("x" * 300)
    assert len(sample.frame_member(longest, 10**6)) <= 100


def test_tar_is_what_webdataset_writes(tmp_path):
    members = [("a.meta.json", b"{}"), ("a.f00000.jpg", b"x" * 512), ("a.f00001.jpg", b"y" * 700)]
    ours = tmp_path / "ours.tar"
    with tarfile.open(ours, "w", format=tarfile.USTAR_FORMAT) as archive:
        tar = Tar(archive)
        offsets = [tar.add(name, data) for name, data in members]
    theirs = io.BytesIO()
    with webdataset.TarWriter(
        theirs, user="", group="", mode=0o644, mtime=0, encoder=False
    ) as writer:
        for name, data in members:
            key, _, rest = name.partition(".")
            writer.write({"__key__": key, rest: data})
    assert ours.read_bytes() == theirs.getvalue()
    for offset, (_, data) in zip(offsets, members, strict=True):
        assert ours.read_bytes()[offset : offset + len(data)] == data
