import gc
import threading
import weakref
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.read.clips import ClipOrder, clip_order
from data_pipeline.read.reader import DataSet, read_clip
from training.learn.batch import to_tensors
from training.learn.loader import Loader, share

BATCH = 4
CLIP_FRAMES = 3

worlds = st.integers(1, 16)
batches = st.integers(1, 40)
positions = st.integers(0, 2**40)


@given(positions, batches, worlds)
def test_ranks_share_the_global_batch_exactly(position, batch_clips, world):
    shares = [share(position, batch_clips, rank, world) for rank in range(world)]
    weighted = [place for one in shares for place, weight in one if weight == 1]
    assert weighted == list(range(position, position + batch_clips))
    assert {weight for one in shares for _, weight in one} <= {0.0, 1.0}


@given(positions, batches, worlds)
def test_shares_have_equal_length_and_are_padded_from_the_same_batch(position, batch_clips, world):
    shares = [share(position, batch_clips, rank, world) for rank in range(world)]
    assert len({len(one) for one in shares}) == 1
    assert world * len(shares[0]) - batch_clips < world
    padding = {place for one in shares for place, weight in one if weight == 0}
    assert padding <= {position + batch_clips - 1}


@pytest.fixture(scope="module")
def data_set(data_sets):
    return DataSet.open(data_sets["fitting"])


@pytest.fixture
def batches_from(data_set):
    """First batches of a loader that is closed before they are looked at."""

    def read(position, count, *, rank=0, world=1, batch_clips=BATCH, prefetch_clips=3):
        order = clip_order(data_set, "train", 7, CLIP_FRAMES, 2)
        with Loader(
            data_set,
            "train",
            order,
            batch_clips=batch_clips,
            rank=rank,
            world=world,
            position=position,
            prefetch_clips=prefetch_clips,
        ) as loader:
            return list(islice(loader, count))

    return read


def same(one, other):
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("frames", "masks", "weights")
    )


def test_a_batch_holds_the_clips_of_the_order_as_tensors(data_set, batches_from):
    (batch,) = batches_from(8, 1)
    assert batch.frames.shape == (BATCH, CLIP_FRAMES, 3, 96, 96)
    assert batch.masks.shape == (BATCH, CLIP_FRAMES, 1, 96, 96)
    assert batch.weights.tolist() == [1.0] * BATCH
    order = clip_order(data_set, "train", 7, CLIP_FRAMES, 2)
    for i in range(BATCH):
        clip = order.clip(8 + i)
        pixels, holes = read_clip(data_set, data_set.videos("train")[clip.video], clip)
        wanted = pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255 * 2 - 1
        np.testing.assert_allclose(batch.frames[i].numpy(), wanted, atol=1e-6)
        assert np.array_equal(batch.masks[i, :, 0].numpy(), holes)


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 2), (2, 3)])
def test_a_loader_started_at_a_position_continues_the_sequence(batches_from, rank, world):
    through = batches_from(0, 5, rank=rank, world=world)
    for skipped in (1, 3):
        later = batches_from(skipped * BATCH, 5 - skipped, rank=rank, world=world)
        assert all(map(same, later, through[skipped:]))
    assert not same(through[0], through[1])


@pytest.mark.parametrize("prefetch_clips", [1, 50])
def test_prefetching_does_not_change_the_batches(batches_from, prefetch_clips):
    wanted, found = batches_from(4, 3), batches_from(4, 3, prefetch_clips=prefetch_clips)
    assert all(map(same, found, wanted))


@pytest.mark.parametrize(("batch_clips", "world"), [(4, 2), (3, 2), (4, 3)])
def test_ranks_together_read_the_batches_of_one(batches_from, batch_clips, world):
    alone = batches_from(0, 2, batch_clips=batch_clips)
    ranks = [
        batches_from(0, 2, rank=rank, world=world, batch_clips=batch_clips) for rank in range(world)
    ]
    for number, wanted in enumerate(alone):
        parts = [one[number] for one in ranks]
        weights = torch.cat([part.weights for part in parts])
        assert weights.sum() == batch_clips
        assert torch.equal(torch.cat([p.frames for p in parts])[weights == 1], wanted.frames)
        assert torch.equal(torch.cat([p.masks for p in parts])[weights == 1], wanted.masks)


def test_a_closed_loader_leaves_no_thread(batches_from):
    batches_from(0, 1, prefetch_clips=50)
    assert not [one for one in threading.enumerate() if one.name.startswith("clips")]


@pytest.fixture
def one_by_one(data_set):
    """A loader of batches of one clip, and the videos in their order."""
    order = clip_order(data_set, "train", 7, CLIP_FRAMES, 2)
    settings = {"batch_clips": 1, "rank": 0, "world": 1, "position": 0, "prefetch_clips": 4}
    return Loader(data_set, "train", order, **settings)


def test_a_read_error_is_raised_at_its_clip(one_by_one, monkeypatch):
    read, met = one_by_one._read, threading.Event()

    def broken(position):
        if position == 2:
            met.set()
            raise OSError("disk on fire")
        return read(position)

    monkeypatch.setattr(one_by_one, "_read", broken)
    came = []

    def three():
        with one_by_one as loader:
            for batch in islice(loader, 3):
                assert met.wait(60)
                came.append(batch)

    with pytest.raises(OSError, match="disk on fire"):
        three()
    assert len(came) == 2
    assert not [one for one in threading.enumerate() if one.name.startswith("clips")]


def test_clips_come_in_order_when_reads_finish_out_of_order(one_by_one, batches_from, monkeypatch):
    read, later = one_by_one._read, threading.Event()

    def first_is_last(position):
        if position == 0:
            assert later.wait(60)
        pixels = read(position)
        if position == 2:
            later.set()
        return pixels

    monkeypatch.setattr(one_by_one, "_read", first_is_last)
    with one_by_one as loader:
        found = list(islice(loader, 3))
    assert all(map(same, found, batches_from(0, 3, batch_clips=1)))


def test_a_loader_restarts_at_its_position_on_every_iteration(one_by_one):
    with one_by_one as loader:
        once, again = list(islice(loader, 2)), list(islice(loader, 2))
    assert all(map(same, again, once))


def test_the_loader_keeps_no_reference_to_delivered_frames(one_by_one, monkeypatch):
    read, alive = one_by_one._read, {}

    def watched(position):
        pixels = read(position)
        alive[position] = weakref.ref(pixels.frames)
        return pixels

    monkeypatch.setattr(one_by_one, "_read", watched)
    with one_by_one as loader:
        batches = iter(loader)
        for position in range(6):
            next(batches)
            gc.collect()
            assert alive[position]() is None


SHARDS = tuple(f"shard-{video // 5}" for video in range(37))


@given(st.integers(1, 16), st.integers(1, 40), st.integers(0, 3), st.integers(0, 2**30))
def test_every_clip_is_seen_once_an_epoch_in_any_world_size(world, batch_clips, resumed, seed):
    order = ClipOrder(seed, SHARDS, (9,) * 37, (1,) * 37, CLIP_FRAMES, 3)
    batches = 37  # as many as have every video batch_clips times
    steps = [resumed, *range(batches)]  # a run that resumes asks for some positions again
    places = {
        place
        for step in steps
        for rank in range(world)
        for place, weight in share(step * batch_clips, batch_clips, rank, world)
        if weight
    }
    videos = Counter(order.clip(place).video for place in places)
    assert videos == dict.fromkeys(range(37), batch_clips)


def test_pixels_are_scaled_to_the_networks_range():
    pixels = np.zeros((1, 1, 2, 3), np.uint8)
    pixels[0, 0, 1] = 255
    frames, masks = to_tensors(pixels, np.array([[[0, 255]]], np.uint8))
    assert frames.shape == (1, 3, 1, 2)
    assert frames[0, :, 0].tolist() == [[-1.0, 1.0]] * 3
    assert masks.tolist() == [[[[0.0, 1.0]]]]
