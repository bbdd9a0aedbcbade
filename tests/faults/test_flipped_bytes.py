"""Every byte of a small data set flipped in turn."""

import pytest

from data_pipeline.format import manifest
from data_pipeline.inspection.verify import verify
from data_pipeline.read.reader import CorruptData, DataSet
from tests.data_pipeline import handmade


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    place = tmp_path_factory.mktemp("small") / "small" / "v1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handmade, "HEIGHT", 16)
        patch.setattr(handmade, "WIDTH", 16)
        handmade.make(str(place), shards={"test-00000": {"a": 5}, "train-00000": {"b": 5}})
    return place


def flipped(path, step=1):
    """Flip one byte of a file after the other; yields its offset while it is wrong."""
    whole = path.read_bytes()
    for offset in range(0, len(whole), step):
        data = bytearray(whole)
        data[offset] ^= 0xFF
        path.write_bytes(data)
        yield offset
    path.write_bytes(whole)


def test_verify_finds_sampled_flipped_bytes(small):
    (shard,) = small.glob("shards/test-*.tar")
    assert all(verify(str(small)).differences for _ in flipped(shard, 499))


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_verify_finds_every_flipped_byte(small):
    for name in manifest.load(str(small)).payload:
        assert all(verify(str(small)).differences for _ in flipped(small / name)), name
    assert verify(str(small)).differences == ()


@pytest.mark.long
def test_the_reader_detects_every_flipped_byte_it_reads(small):
    data = DataSet.open(str(small))
    (video,) = data.videos("test")
    shard = small / video.shard

    def read():
        frames = range(video.frames)
        return data.read_frames(video, frames).tobytes(), data.read_masks(
            video, 0, frames
        ).tobytes()

    sound, seen = read(), 0
    for _ in flipped(shard):
        try:
            assert read() == sound
        except CorruptData:
            seen += 1
    assert seen > 5 * 300  # at least the bytes of its frames
