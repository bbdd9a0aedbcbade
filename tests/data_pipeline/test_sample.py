import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.format import sample


@given(st.integers(1, 70), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3))
def test_masks_round_trip_by_chunk(frames, height, width, variants):
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
            some = sample.decode_mask_chunk(data, count, height, width, [count - 1, 0])
            assert np.array_equal(some, wanted[[-1, 0]])
            start += size
    assert start == len(packed.data)
    assert sample.chunk_of(frames - 1)[0] == len(packed.sizes[0]) - 1


def test_the_mask_member_is_a_valid_zstd_file():
    masks = np.random.default_rng(0).integers(0, 2, size=(2, 40, 6, 7), dtype=np.uint8)
    packed = sample.encode_masks(masks)
    # Like `zstd -d`: frame after frame until the end.
    with pa.CompressedInputStream(pa.BufferReader(packed.data), "zstd") as stream:
        bits = stream.read()
    wanted = np.packbits(masks.reshape(80, 42), axis=1)
    assert bits == wanted.tobytes()


def test_frames_round_trip_within_jpeg_error():
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
