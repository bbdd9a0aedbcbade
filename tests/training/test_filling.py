"""Clips read for a generator with a fill, against fills of the whole video."""

import dataclasses
import struct
from itertools import islice

import numpy as np
import pytest
import torch

from data_pipeline.cli.command import UserError
from data_pipeline.read.clips import Clip, clip_order
from data_pipeline.read.reader import DataSet, read_clip
from mlops.fills.propagation import diffused, propagated
from training.config.train_config import GeneratorConfig, TrainConfig
from training.learn.batch import batch_of
from training.learn.filling import fill_all, mirrored, reading
from training.learn.loader import Loader

REACH = 3
SHAPE = GeneratorConfig(fill="propagate")


@pytest.fixture(scope="module")
def data_set(data_sets):
    return DataSet.open(data_sets["fitting"])


@pytest.fixture(scope="module")
def video(data_set):
    """Of 20 frames, and the second of its masks moves."""
    return max(data_set.videos("train"), key=lambda one: one.frames)


def clip_of(frames, references=0, *, flip=False, variant=1):
    return Clip(0, 0, tuple(frames), not references, flip, variant, references)


def read(data_set, video, clip, shape=SHAPE, flows=None, reach=REACH):
    config = TrainConfig(generator=shape, flows=flows, clip_reach=reach)
    return reading(config)(data_set, video, clip)


def whole(data_set, video, *, flip=False):
    """Every frame of the video, and its masks."""
    return read_clip(data_set, video, clip_of(range(video.frames), flip=flip))


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("frames", "masks", "filled", "belief", "alone")
    )


@pytest.mark.parametrize("first", [0, 8, 16])
@pytest.mark.parametrize("flip", [False, True])
def test_neighbours_are_filled_by_propagation_over_the_video(data_set, video, first, flip):
    frames, masks = whole(data_set, video, flip=flip)
    found = read(data_set, video, clip_of(range(first, first + 4), flip=flip))
    wanted = list(propagated(zip(frames, masks, strict=True), reach=REACH))[first : first + 4]
    assert np.array_equal(found.filled, [one.frame for one in wanted])
    assert np.array_equal(found.belief, [one.belief for one in wanted])
    assert np.array_equal(found.frames, frames[first : first + 4])
    assert np.array_equal(found.masks, masks[first : first + 4])
    hole = found.masks != 0
    assert (found.belief[hole] > 0).any()
    assert np.array_equal(found.filled[~hole], found.frames[~hole])


@pytest.mark.parametrize(
    ("places", "wanted"),
    [
        ((0, 1, 9), [*range(5), 9]),
        ((8, 9, 2), [*range(5, 13), 2]),
        ((18, 19, 17), [*range(15, 20), 17]),
    ],
)
def test_only_frames_within_reach_are_read(data_set, video, monkeypatch, places, wanted):
    requested = []

    def noting(*given):
        requested.append(given[-1].frames)
        return read_clip(*given)

    monkeypatch.setattr("training.learn.filling.read_clip", noting)
    read(data_set, video, clip_of(places, references=1))
    assert [list(frames) for frames in requested] == [wanted]


def test_references_are_filled_from_their_own_frame_only(data_set, video):
    frames, masks = whole(data_set, video)
    places = [7, 8, 9, 0, 10, 15]  # the second reference lies beside the neighbours
    found = read(data_set, video, clip_of(places, references=3))
    assert np.array_equal(found.frames, frames[places])
    assert np.array_equal(found.masks, masks[places])
    alone = list(diffused(zip(frames, masks, strict=True)))
    assert np.array_equal(found.filled[3:], [alone[i].frame for i in places[3:]])
    assert np.array_equal(found.belief[3:], [alone[i].belief for i in places[3:]])
    assert same_first(found, read(data_set, video, clip_of(places[:3])))


def same_first(longer, shorter):
    """Whether a clip begins with another one."""
    count = len(shorter.frames)
    return all(
        np.array_equal(getattr(longer, name)[:count], getattr(shorter, name))
        for name in ("frames", "masks", "filled", "belief", "alone")
    )


def test_diffusion_fills_every_frame_from_itself(data_set, video):
    places = [1, 5, 6, 19]
    shape = dataclasses.replace(SHAPE, fill="diffuse")
    found = read(data_set, video, clip_of(places), shape)
    pairs = zip(found.frames, found.masks, strict=True)
    wanted = list(diffused(pairs))
    assert np.array_equal(found.filled, [one.frame for one in wanted])
    assert np.array_equal(found.belief, [one.belief for one in wanted])


def test_without_a_fill_nothing_is_filled(data_set, video):
    found = read(data_set, video, clip_of([1, 5]), GeneratorConfig())
    assert found.filled is None
    assert found.belief is None
    batch = batch_of([found], [1.0])
    assert torch.equal(batch.open, batch.masks)
    assert torch.equal(batch.given[0], batch.frames * (1 - batch.masks))
    assert len(batch.given) == 2


def write_flows(folder, video, frames, seed=0):
    """Smooth invented flow, consistent enough to be trusted in places."""
    random = np.random.default_rng(seed)
    for number in range(frames - 1):
        flow = np.full((96, 96, 2), random.uniform(-2, 2, 2), "<f4")
        flow[:, :48] += 1  # so that its mirror is another flow
        for way, sign in (("forward", 1), ("backward", -1)):
            path = folder / video / way / f"{number:05d}.flo"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = struct.pack("<ii", 96, 96) + (flow * np.float32(sign)).tobytes()
            path.write_bytes(b"PIEH" + data)


def mirror(pixels):
    """A horizontally flipped clip."""
    turned = (one[:, :, ::-1] for one in dataclasses.astuple(pixels))
    return dataclasses.replace(pixels, **dict(zip(NAMES, turned, strict=True)))


NAMES = ("frames", "masks", "filled", "belief", "alone")


def test_flow_from_files_is_mirrored_with_the_frames(data_set, video, tmp_path, monkeypatch):
    write_flows(tmp_path, video.id, video.frames)
    # Masks are not mirrored with the frames: here they are, so that the whole clip is mirrored.
    straight = whole(data_set, video)
    turned = tuple(one[:, :, ::-1] for one in straight)

    def some(_data_set, _video, clip):
        frames, masks = turned if clip.flip else straight
        return frames[list(clip.frames)], masks[list(clip.frames)]

    monkeypatch.setattr("training.learn.filling.read_clip", some)
    plain, flipped = (
        read(data_set, video, clip_of((8, 9, 10, 2), 1, flip=flip), flows=str(tmp_path))
        for flip in (False, True)
    )
    # Mirrored coordinates: the last bit of a weight may differ.
    again = mirror(flipped)
    assert np.array_equal(again.frames, plain.frames)
    assert abs(again.filled.astype(int) - plain.filled).max() <= 1
    np.testing.assert_allclose(again.belief, plain.belief, atol=1e-4)
    assert (plain.belief[:3][plain.masks[:3] != 0] > 0.1).any()
    by_dis = read(data_set, video, clip_of((8, 9, 10, 2), 1))
    assert not np.array_equal(by_dis.filled, plain.filled)


def test_a_mirrored_flow_source_gets_the_unmirrored_frames():
    first, second = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
    forward = np.arange(48, dtype=np.float32).reshape(4, 6, 2)

    def source(number, one, other):
        assert number == 7
        assert np.array_equal(one, first)
        assert np.array_equal(other, second)
        return forward, -forward

    found = mirrored(source)(7, first[:, ::-1], second[:, ::-1])
    assert np.array_equal(found[0][..., 0], -forward[:, ::-1, 0])
    assert np.array_equal(found[0][..., 1], forward[:, ::-1, 1])
    assert np.array_equal(found[1], -found[0])


def test_flow_files_that_are_missing_are_named(data_set, video, tmp_path):
    write_flows(tmp_path, video.id, 10)
    with pytest.raises(UserError, match=rf"no optical flow .*/{video.id}/forward/00009.flo"):
        read(data_set, video, clip_of((8, 9, 10)), flows=str(tmp_path))


def batches(data_set, *, prefetch_clips=4, position=0, count=3, rank=0, world=1):
    order = clip_order(data_set, "train", 7, 4, 2, 1)
    with Loader(
        data_set, "train", order, batch_clips=2, rank=rank, world=world, position=position,
        prefetch_clips=prefetch_clips, read=reading(TrainConfig(generator=SHAPE)),
    ) as loader:  # fmt: skip
        return list(islice(loader, count))


def equal(one, other):
    return all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in (*NAMES, "weights")
    )


def test_batches_do_not_depend_on_threads_ranks_or_start_position(data_set):
    through = batches(data_set)
    assert all(map(equal, batches(data_set, prefetch_clips=1), through))
    assert all(map(equal, batches(data_set, position=2, count=2), through[1:]))
    ranks = [batches(data_set, rank=rank, world=2, count=1)[0] for rank in range(2)]
    for name in NAMES:
        parts = torch.cat([getattr(one, name) for one in ranks])
        assert torch.equal(parts, getattr(through[0], name))


def test_filled_frames_of_a_batch_are_in_the_networks_range(data_set, video):
    pixels = read(data_set, video, clip_of((5, 6, 7, 19), 1))
    batch = batch_of([pixels], [1.0])
    filled, masks, belief, alone = batch.given
    assert torch.equal(masks, batch.masks)
    assert belief.shape == (1, 4, 2, 96, 96)
    known = masks.expand_as(alone) == 0
    assert torch.equal(alone[known], batch.frames[known])
    levels = (filled[0].permute(0, 2, 3, 1) + 1) * 127.5
    np.testing.assert_allclose(levels.numpy(), pixels.filled, atol=1e-4)
    assert np.array_equal(belief[0].permute(0, 2, 3, 1).numpy(), pixels.belief)
    sure = pixels.belief[..., 1] >= np.exp(-0.5)
    wanted = (pixels.masks != 0) & ~sure
    assert np.array_equal(batch.open[0, :, 0].numpy() == 1, wanted)
    assert 0 < wanted.sum() < (pixels.masks != 0).sum()


@pytest.mark.parametrize("fill", ["none", "diffuse", "propagate"])
def test_an_in_memory_clip_is_filled_identically(data_set, video, fill):
    frames, masks = whole(data_set, video)
    found = fill_all(frames, masks, fill)
    shape = dataclasses.replace(SHAPE, fill=fill)
    wanted = read(data_set, video, clip_of(range(video.frames)), shape, reach=video.frames)
    assert same(found, wanted)
