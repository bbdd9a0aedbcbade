from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.build.plan import plan_shards
from data_pipeline.sources.record import SourceVideo


def video(name, frames=100, split="train"):
    return SourceVideo(name, split, "file", f"/{name}", name, frames, 0, "25/1")


def plan(videos, **change):
    return plan_shards(videos, **{"seed": 0, "megabytes": 1, "width": 96, "height": 96} | change)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(0, 9))
def test_every_video_in_one_shard_of_its_split(lengths, seed):
    videos = [
        video(f"v{i}", frames, "test" if i % 3 == 0 else "train")
        for i, frames in enumerate(lengths)
    ]
    shards = plan(videos, seed=seed)
    placed = [v for shard in shards for v in shard.videos]
    assert sorted(placed, key=lambda v: v.id) == sorted(videos, key=lambda v: v.id)
    assert all(v.split == shard.split for shard in shards for v in shard.videos)
    assert len({shard.name for shard in shards}) == len(shards)
    assert plan(videos[::-1], seed=seed) == shards
    bytes_per_frame = 0.35 * 96 * 96 + 1024
    for shard in shards:
        size = bytes_per_frame * sum(v.frames for v in shard.videos)
        assert size <= 10**6 or len(shard.videos) == 1


def test_shards_are_filled_up_to_their_target_size():
    # About 425 KB a video of 100 frames: two fit in a megabyte.
    shards = plan([video(f"v{i}") for i in range(6)])
    assert [len(shard.videos) for shard in shards] == [2, 2, 2]
    # A video that is larger than a shard gets one for itself.
    assert len(plan([video("a", 5000), video("b", 5000)])) == 2
    assert len(plan([video(f"v{i}") for i in range(6)], megabytes=3)) == 1


def test_videos_are_shuffled_by_the_seed():
    videos = [video(f"v{i:02d}", 1) for i in range(20)]
    orders = [[v.id for shard in plan(videos, seed=s) for v in shard.videos] for s in (0, 1)]
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])
