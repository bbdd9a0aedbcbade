from collections import Counter
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipeline.cli.command import UserError
from data_pipeline.read.clips import ClipOrder, evaluation_clips


def order(counts, *, seed=0, window=2, frames=5, length=20, variants=3, references=None):
    """An order over shards with so many videos each."""
    shards = tuple(f"shard-{i}" for i, count in enumerate(counts) for _ in range(count))
    total = len(shards)
    sizes = (length,) * total, (variants,) * total
    return ClipOrder(seed, shards, *sizes, frames, window, references)


shard_counts = st.lists(st.integers(1, 6), min_size=1, max_size=8)


@given(shard_counts, st.integers(0, 2**40), st.integers(1, 9), st.integers(0, 5))
def test_every_epoch_has_every_video_once(counts, seed, window, epoch):
    clips = order(counts, seed=seed, window=window)
    total = sum(counts)
    videos = [clips.clip(epoch * total + i).video for i in range(total)]
    assert sorted(videos) == list(range(total))


def spans(clips, epoch=0):
    """First and last place of each shard in an epoch, [shards, 2]."""
    total = len(clips.shards)
    shards = [clips.shards[clips.clip(epoch * total + i).video] for i in range(total)]
    names = set(shards)
    return np.array([[shards.index(n), total - 1 - shards[::-1].index(n)] for n in names])


@given(shard_counts, st.integers(0, 2**40), st.integers(1, 9))
def test_a_window_touches_no_more_shards_than_it_may(counts, seed, window):
    first, last = spans(order(counts, seed=seed, window=window)).T
    for place in range(sum(counts)):
        assert ((first <= place) & (place <= last)).sum() <= window


@pytest.mark.parametrize(("shards", "window"), [(9, 8), (10, 4), (17, 16), (5, 3)])
def test_the_last_window_is_not_small(shards, window):
    # 30 videos a shard: a shard that is mixed with others is spread over more places than that.
    first, last = spans(order([30] * shards, window=window)).T
    assert (last - first + 1).min() > 30


def sharing(clips, epochs=2, batch=8):
    """Mean share of pairs in a batch that come from one shard."""
    total = len(clips.shards)
    shard = np.unique(clips.shards, return_inverse=True)[1]
    videos = [clips.clip(i).video for i in range(epochs * total // batch * batch)]
    batches = shard[videos].reshape(-1, batch)
    pairs = [(batches[:, i] == batches[:, j]) for i in range(batch) for j in range(i)]
    return float(np.mean(pairs))


def test_the_default_window_mixes_well():
    # Of a set like YouTube-VOS, 54 shards of 64 videos. All mixed, two clips of a batch share a
    # shard with chance 1/54; with a window of 8 shards with chance 1/8, 6.75 times as often.
    counts = [64] * 54
    whole = sharing(order(counts, window=54))
    assert whole == pytest.approx(1 / 54, rel=0.15)
    assert sharing(order(counts, window=8)) / whole < 8
    # The place of a video in one epoch is nearly independent of that in the next.
    clips = order(counts, window=8)
    places = np.argsort([[clips.clip(e * 3456 + i).video for i in range(3456)] for e in range(2)])
    assert abs(np.corrcoef(places)[0, 1]) < 0.3


@given(st.integers(1, 16), st.integers(1, 4), st.integers(0, 50))
@settings(max_examples=30)
def test_the_sequence_does_not_depend_on_world_size_or_resuming(world, workers, resume):
    def batch(clips, step):
        share = range(step * world * workers, (step + 1) * world * workers)
        by_rank = [[clips.clip(p) for p in share if p % world == rank] for rank in range(world)]
        return sorted((clip for rank in by_rank for clip in rank), key=lambda clip: clip.position)

    step = resume // (world * workers)
    first = step * world * workers
    wanted = [order([3, 4, 2]).clip(first + i) for i in range(world * workers)]
    assert batch(order([3, 4, 2]), step) == wanted


def test_positions_in_any_order_give_the_same_clips():
    forwards = [order([5, 5, 5]).clip(i) for i in range(200)]
    clips = order([5, 5, 5])
    backwards = [clips.clip(i) for i in reversed(range(200))]
    assert forwards == backwards[::-1]
    assert len(clips._orders) <= 3


def test_another_seed_is_another_sequence():
    assert [order([9, 9]).clip(i) for i in range(20)] != [
        order([9, 9], seed=1).clip(i) for i in range(20)
    ]


@pytest.mark.parametrize(
    ("position", "wanted"),
    [
        (0, (7, (1, 2, 3, 4, 5), True, False, 1)),
        (17, (2, (6, 7, 8, 9, 10), True, True, 0)),
        (1000, (4, (4, 6, 9, 11, 17), False, False, 0)),
        (123456, (6, (0, 1, 2, 7, 9), False, True, 1)),
    ],
)
def test_the_sequence_is_pinned(position, wanted):
    # A change here changes the clips that every old run would train on next.
    assert fields_of(order([3, 3, 3], seed=7).clip(position)) == wanted


def test_a_long_piece_of_the_sequence_is_pinned():
    clips = order([5, 4, 6], seed=3, frames=4, length=11)
    said = repr([fields_of(clips.clip(position)) for position in range(500)])
    assert sha256(said.encode()).hexdigest().startswith("f1a254081711cb27e6a322b89f0b0b9d")


def fields_of(clip):
    assert clip.references == 0
    return clip.video, clip.frames, clip.consecutive, clip.flip, clip.variant


@given(st.integers(0, 2**30), st.integers(1, 6), st.integers(6, 30))
def test_frames_of_a_clip(position, frames, length):
    clip = order([4], frames=frames, length=length).clip(position)
    assert len(set(clip.frames)) == frames
    assert list(clip.frames) == sorted(clip.frames)
    assert clip.frames[0] >= 0
    assert clip.frames[-1] < length
    if clip.consecutive:
        assert clip.frames[-1] - clip.frames[0] == frames - 1


@given(st.integers(0, 2**30), st.integers(1, 6), st.integers(0, 5), st.integers(6, 30))
def test_neighbours_are_consecutive_and_references_are_other_frames(
    position, frames, references, length
):
    references = min(references, frames - 1)
    clip = order([4], frames=frames, length=length, references=references).clip(position)
    assert clip.references == references
    assert len(clip.frames) == frames
    neighbours, others = clip.frames[: frames - references], clip.frames[frames - references :]
    first = neighbours[0]
    assert neighbours == tuple(range(first, first + len(neighbours)))
    assert list(others) == sorted(set(others) - set(neighbours))
    assert min(clip.frames) >= 0
    assert max(clip.frames) < length
    assert clip.consecutive == (references == 0)


def test_neighbours_and_references_cover_the_whole_video():
    clips = [order([10], references=2, variants=4).clip(i) for i in range(4000)]
    begin = Counter(clip.frames[0] for clip in clips)
    assert sorted(begin) == list(range(18))  # of 20 frames, 3 are neighbours
    assert max(begin.values()) < 1.5 * min(begin.values())
    references = Counter(frame for clip in clips for frame in clip.frames[3:])
    assert sorted(references) == list(range(20))
    # At the ends of the video there are seldom neighbours.
    assert max(references.values()) < 1.5 * min(references.values())
    assert {clip.variant for clip in clips} == {0, 1, 2, 3}
    assert abs(np.mean([clip.flip for clip in clips]) - 0.5) < 0.03


def test_references_change_neither_the_videos_nor_their_order():
    """And the frames of a clip depend on seed and position alone."""
    plain, ours = order([5, 5, 5]), order([5, 5, 5], references=2)
    forwards = [ours.clip(i) for i in range(100)]
    again = order([5, 5, 5], references=2)
    assert [again.clip(i) for i in reversed(range(100))] == forwards[::-1]
    assert [clip.video for clip in forwards] == [plain.clip(i).video for i in range(100)]
    assert [clip.frames for clip in forwards] != [
        order([5, 5, 5], references=2, seed=1).clip(i).frames for i in range(100)
    ]


def test_a_video_as_long_as_the_clip_has_all_its_frames():
    for position in range(20):
        clip = order([2], frames=5, length=5, references=2).clip(position)
        assert sorted(clip.frames) == list(range(5))


def test_shares_of_modes_flips_and_variants():
    clips = [order([10], variants=4).clip(i) for i in range(4000)]
    assert abs(np.mean([c.consecutive for c in clips]) - 0.5) < 0.03
    assert abs(np.mean([c.flip for c in clips]) - 0.5) < 0.03
    variants = Counter(c.variant for c in clips)
    assert sorted(variants) == [0, 1, 2, 3]
    assert min(variants.values()) > 850
    spread = Counter(f for c in clips if not c.consecutive for f in c.frames)
    assert len(spread) == 20
    assert max(spread.values()) < 1.3 * min(spread.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"counts": []}, "no videos"),
        ({"length": 4}, "clips of 5 frames were requested, but video 0 has 4"),
        ({"variants": 0}, "has no masks"),
        ({"window": 0}, "at least 1"),
        ({"references": 5}, "5 references in clips of 5 frames: leave at least one neighbour"),
        ({"references": -1}, "-1 references in clips of 5 frames"),
    ],
)
def test_invalid_clip_orders_are_refused(change, words):
    with pytest.raises(UserError, match=words):
        order(**{"counts": [2]} | change)


def test_evaluation_clips_are_fixed_and_spread():
    clips = evaluation_clips((20, 5), (2, 3), clips_per_video=3, frames_per_clip=5)
    assert [c.frames[0] for c in clips] == [2, 7, 12, 0, 0, 0]
    assert [c.video for c in clips] == [0, 0, 0, 1, 1, 1]
    assert [c.variant for c in clips] == [0, 1, 0, 0, 1, 2]
    assert [c.position for c in clips] == list(range(6))
    assert all(c.consecutive and not c.flip and len(c.frames) == 5 for c in clips)
    with pytest.raises(UserError, match="video 1 has 4"):
        evaluation_clips((20, 4), (1, 1), clips_per_video=1, frames_per_clip=5)
