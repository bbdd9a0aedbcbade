import tracemalloc
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_pipeline.format.ring import Ring
from data_pipeline.masks.objects import NoObject, object_mask_frames
from tests.layouts import shared_data

VIDEOS = [f"video-{i}" for i in range(200)]


def box(top, left, tall=20, wide=30, label=1, size=(96, 192)):
    labels = np.zeros(size, dtype=np.uint8)
    labels[top : top + tall, left : left + wide] = label
    return labels


def donors(video, annotated, seed, count=3):
    return Ring.of(annotated, seed).donors(video, seed, count)


def corner(mask):
    return int(mask.any(axis=1).argmax()), int(mask.any(axis=0).argmax())


def made(annotations, seed, frames, height=96, width=192):
    masks = list(object_mask_frames(annotations, seed, frames, height, width))
    assert len(masks) == frames
    assert all(mask.shape == (height, width) and mask.dtype == np.uint8 for mask in masks)
    assert all(mask.max() <= 1 for mask in masks)
    return np.stack(masks)


# A box that goes 4 pixels down and 10 to the right every fifth frame: 0.8 and 2 a frame.
WALK = [(5 * i, box(10 + 4 * i, 20 + 10 * i)) for i in range(7)]
ON_THE_WAY = [(10 + round(0.8 * time), 20 + 2 * time) for time in range(31)]


# --- donors -------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False), st.integers(0, 99), st.integers(0, 250))
@settings(max_examples=30)
def test_donors_do_not_depend_on_order_or_duplicates_and_exclude_the_video(random, seed, video):
    shuffled = random.sample(VIDEOS, len(VIDEOS))
    chosen = donors(f"video-{video}", shuffled, seed)
    assert chosen == donors(f"video-{video}", [*VIDEOS, *VIDEOS[:5]], seed)
    assert len(set(chosen)) == 3
    assert set(chosen) <= set(VIDEOS) - {f"video-{video}"}


def test_there_may_be_fewer_donors_than_requested():
    assert donors("a", [], 0) == ()
    assert donors("a", ["a"], 0) == ()
    assert donors("a", ["a", "b"], 0) == ("b",)
    assert sorted(donors("a", ["a", "b", "c"], 0)) == ["b", "c"]
    assert sorted(donors("z", ["a", "b", "c"], 0)) == ["a", "b", "c"]
    assert len(donors("z", VIDEOS, 0, count=1)) == 1
    # A video that stands among its own donors still has as many.
    ring = Ring.of(VIDEOS, 0)
    assert {len(ring.donors(video, seed)) for video in VIDEOS for seed in range(20)} == {3}


def test_different_seeds_and_videos_choose_different_donors():
    ring = Ring.of(VIDEOS, 0)
    assert len({ring.donors("video-7", seed) for seed in range(100)}) > 50
    assert len({ring.donors(video, 0) for video in VIDEOS}) > 50
    # Other neighbours under another seed of the ring, not only another place.
    followers = {Ring.of(VIDEOS, seed).donors("x", 0, 200).index("video-7") for seed in range(9)}
    assert len(followers) > 3
    # No video is a donor of all others.
    firsts = Counter(ring.donors(video, seed)[0] for video in VIDEOS for seed in range(10))
    assert max(firsts.values()) < 0.06 * firsts.total()


def test_adding_or_removing_a_video_changes_few_donors():
    before, after = Ring.of(VIDEOS, 0), Ring.of([v for v in VIDEOS if v != "video-50"], 0)
    others = [f"other-{i}" for i in range(500)]
    changed = [v for v in others if before.donors(v, 0) != after.donors(v, 0)]
    assert changed == [v for v in others if "video-50" in before.donors(v, 0)]
    # Three in 200 choose it on average, by its neighbours' distance on the ring.
    assert 0 < len(changed) < 25


# --- masks --------------------------------------------------------------------------------------


def test_the_object_moves_in_a_straight_line_between_annotations():
    starts, steps = set(), set()
    for seed in range(40):
        masks = made(WALK, seed, 20)
        assert (masks.sum(axis=(1, 2)) == 600).all()
        times = [ON_THE_WAY.index(corner(mask)) for mask in masks]
        # The donor shows it for 31 frames: 20 are played without turning.
        steps.add(tuple(np.diff(times)))
        starts.add(min(times))
        assert np.array_equal(masks, made(WALK, seed, 20))
    assert steps == {(1,) * 19, (-1,) * 19}
    assert len(starts) > 5
    assert (min(starts), max(starts)) == (0, 11)


def test_a_short_track_is_played_back_and_forth():
    starts = set()
    for seed in range(60):
        times = [ON_THE_WAY.index(corner(mask)) for mask in made(WALK[:3], seed, 45)]
        assert set(times) == set(range(11))
        steps = np.diff(times)
        assert set(steps) == {-1, 1}
        # It turns at the ends and nowhere else.
        turns = [time for time, a, b in zip(times[1:], steps, steps[1:], strict=False) if a != b]
        assert set(turns) == {0, 10}
        starts.add((times[0], int(steps[0])))
    assert len(starts) > 12


def test_a_track_just_long_enough_is_not_reversed():
    for seed in range(10):
        times = [ON_THE_WAY.index(corner(mask)) for mask in made(WALK, seed, 31)]
        assert times in (list(range(31)), list(range(30, -1, -1)))


def test_annotations_at_uneven_frame_numbers():
    uneven = [(3, box(10, 20)), (4, box(12, 20)), (24, box(12, 60))]
    masks = made(uneven, 0, 22)
    corners = [corner(mask) for mask in masks]
    forwards = [(10, 20), *((12, 20 + 2 * i) for i in range(21))]
    assert corners in (forwards, forwards[::-1])


def test_the_nearest_annotated_shape_is_moved():
    grown = [(0, box(30, 60)), (10, box(20, 45, tall=40, wide=60))]  # both around (40, 75)
    masks = made(grown, 1, 11)
    areas = masks.sum(axis=(1, 2)).tolist()
    assert sorted(areas) == [600] * 6 + [2400] * 5
    assert areas in (sorted(areas), sorted(areas, reverse=True))


def test_an_object_is_cut_at_the_border_and_never_wraps():
    # The large shape moves towards the corner before the small one takes over.
    leaving = [(0, box(30, 100, tall=60, wide=80)), (10, box(86, 182, tall=10, wide=10))]
    masks = made(leaving, 2, 11)
    areas = sorted(int(mask.sum()) for mask in masks)
    assert areas[:5] == [100] * 5
    assert 600 < areas[5] < areas[-1] == 4800
    for mask in masks:
        rows, columns = np.nonzero(mask)
        assert np.ptp(rows) < 60
        assert np.ptp(columns) < 80


def test_a_single_annotated_frame_gives_a_static_mask():
    masks = made([(15, box(10, 20))], 3, 8)
    assert (masks == box(10, 20)).all()


@pytest.mark.parametrize("size", [(48, 96), (480, 640), (64, 128)])
def test_masks_have_their_own_size(size):
    found = made([(0, box(24, 48))], 0, 1, *size)[0]
    wanted = np.asarray(Image.fromarray(box(24, 48)).resize(size[::-1], Image.Resampling.NEAREST))
    assert np.array_equal(found, wanted)


def test_any_usable_object_may_be_chosen():
    both = [(t, box(5, 10, label=3) + box(60, 100, label=7)) for t in (0, 5, 10)]
    corners = {corner(made(both, seed, 4)[0]) for seed in range(30)}
    assert corners == {(5, 10), (60, 100)}


@pytest.mark.parametrize(
    "unusable",
    [
        box(10, 20, tall=9, wide=10, label=2),  # 0.49 % of the frame
        box(0, 0, tall=49, wide=192, label=2),  # 51 %
        box(10, 20, label=255),
        box(10, 20, label=0),
    ],
)
def test_objects_too_small_too_large_or_ignored_are_unusable(unusable):
    with pytest.raises(NoObject, match=r"2 annotated frames .* 0\.5% to 50% of one: try another"):
        object_mask_frames([(0, unusable), (5, unusable)], 0, 4, 96, 192)
    usable = np.where(unusable, unusable, box(60, 100))
    usable[60:80, 100:130] = 1
    for seed in range(20):
        assert made([(0, usable)], seed, 1)[0].sum() == 600


def test_a_donor_without_annotations_has_no_object():
    with pytest.raises(NoObject, match="0 annotated frames"):
        object_mask_frames([], 0, 4, 96, 192)


def test_only_the_longest_continuous_track_of_an_object_is_used():
    gone = np.zeros((96, 192), dtype=np.uint8)
    stays = [box(5, 10), gone, box(40, 60), box(40, 70), box(40, 80), gone, box(70, 150)]
    annotations = [(5 * i, labels) for i, labels in enumerate(stays)]
    for seed in range(10):
        masks = made(annotations, seed, 30)
        assert {corner(mask)[0] for mask in masks} == {40}
        assert {corner(mask)[1] for mask in masks} == set(range(60, 81, 2))


def test_memory_does_not_grow_with_the_video_nor_hold_the_maps():
    class Loaded:
        """Label maps of 200 annotated frames that are made when they are read."""

        def __len__(self):
            return 200

        def __getitem__(self, i):
            if i >= 200:
                raise IndexError
            return 5 * i, box(10, i % 100, tall=60, wide=100, size=(480, 640))

    tracemalloc.start()
    for _ in islice(object_mask_frames(Loaded(), 0, 3000, 240, 432), 3000):
        pass
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Packed shapes are 2.6 MB; the maps would be 61 MB, the masks 311 MB.
    assert most < 12e6


@pytest.mark.parametrize(("video", "better"), [("bmx-trees", 0.09), ("tennis", 0.06)])
def test_interpolated_real_objects_are_better_than_held_ones(video, better):
    """Closer to the annotation of every frame than holding the last of every fifth."""

    def maps(folder):
        paths = sorted((shared_data() / folder / video).glob("*.png"))
        return {
            int(path.stem): (np.asarray(Image.open(path)) > 0).astype(np.uint8) for path in paths
        }

    sparse, dense = maps("youtube-vos-mini/train/Annotations"), maps("object-masks")
    last = max(sparse)
    found = made(list(sparse.items()), 0, last + 1, 240, 432)
    if not np.array_equal(found[0], sparse[0]):
        found = found[::-1]
    times = [time for time in range(last) if time % 5]
    ours = np.mean([overlap(found[time], dense[time]) for time in times])
    held = np.mean([overlap(sparse[time - time % 5], dense[time]) for time in times])
    assert ours > held + better
    assert all(np.array_equal(found[time], sparse[time]) for time in sparse)


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()
