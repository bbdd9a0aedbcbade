"""Rectangles of a frame, and videos inpainted on a part of it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.small import SIDE, small_generator
from training.model.area import Area, area_around, hole_of, taken, union, whole_area
from training.model.inpaint import Schedule, stream

UNITS = (8, 12)


@st.composite
def holes_in_frames(draw):
    """(frame, area inside it), sides in pixels."""
    frame = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    top, left = draw(st.integers(0, frame[0] - 1)), draw(st.integers(0, frame[1] - 1))
    height, width = draw(st.integers(1, frame[0] - top)), draw(st.integers(1, frame[1] - left))
    return frame, Area(top, left, height, width)


def crops():
    return st.tuples(st.integers(1, 60), st.integers(1, 60))


@given(holes_in_frames(), crops())
def test_an_area_contains_the_hole_and_fits_patches_and_frame(case, crop):
    frame, hole = case
    area = area_around(hole, frame, crop, UNITS, None)
    assert area.contains(hole)
    for start, length, side, least, unit in zip(
        (area.top, area.left), (area.height, area.width), frame, crop, UNITS, strict=True
    ):
        whole = -(-side // unit) * unit
        assert length % unit == 0
        assert min(least, side) <= length <= whole
        # Only an area as large as the frame extends beyond it.
        assert start >= 0
        assert start + length <= side or (start == 0 and length == whole)


@given(holes_in_frames(), crops(), st.data())
def test_the_area_is_kept_while_the_hole_keeps_its_margin(case, crop, data):
    frame, hole = case
    first = area_around(hole, frame, crop, UNITS, None)
    assert area_around(hole, frame, crop, UNITS, first) == first
    other = Area(
        data.draw(st.integers(0, frame[0] - 1)), data.draw(st.integers(0, frame[1] - 1)), 1, 1
    )
    after = area_around(other, frame, crop, UNITS, first)
    assert after.contains(other)


@given(holes_in_frames())
def test_the_bounding_box_of_a_mask(case):
    frame, hole = case
    mask = torch.zeros(frame, dtype=torch.uint8)
    assert hole_of(mask) is None
    hole.cut(mask)[:] = 255
    assert hole_of(mask) == hole
    assert union([hole, hole]) == hole


def test_pixels_beyond_the_frame_are_reflected():
    image = torch.arange(12).reshape(3, 4)
    assert taken(image, Area(0, 0, 3, 4)).equal(image)
    assert taken(image, Area(1, 2, 2, 2)).equal(image[1:, 2:])
    columns = taken(image, Area(0, 0, 3, 9))[0].tolist()
    assert columns == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert whole_area((3, 4), (8, 3)) == Area(0, 0, 8, 6)


@pytest.fixture(scope="module")
def generator():
    return small_generator(seed=1).eval()


def pairs(length, hole):
    """Frames of 40x56 and masks with a hole that `hole(i)` gives; None = none."""
    random = torch.Generator().manual_seed(0)
    for i in range(length):
        mask = torch.zeros(40, 56, dtype=torch.uint8)
        if hole(i) is not None:
            hole(i).cut(mask)[:] = 1
        yield torch.randint(0, 256, (40, 56, 3), generator=random, dtype=torch.uint8), mask


CROP = Schedule(crop_width=SIDE, crop_height=SIDE)


@pytest.mark.parametrize("corner", [(0, 0), (36, 50), (20, 30), (1, 52)])
def test_a_crop_is_inpainted_like_a_video_of_its_own(generator, corner):
    given_ = list(pairs(12, lambda _: Area(*corner, 4, 4)))
    found = list(stream(generator, given_, CROP))
    area = area_around(Area(*corner, 4, 4), (40, 56), (SIDE, SIDE), (8, 8), None)
    assert (area.height, area.width) == (SIDE, SIDE)
    cut = [(taken(frame, area), taken(mask, area)) for frame, mask in given_]
    for whole, part, (frame, mask) in zip(
        found, stream(generator, cut, Schedule()), given_, strict=True
    ):
        assert torch.equal(taken(whole, area), part)
        assert torch.equal(whole[mask == 0], frame[mask == 0])
        assert not torch.equal(whole[mask != 0], frame[mask != 0])


def test_holes_that_cross_the_frame_are_all_filled(generator):
    def wandering(i):
        return Area(2 + i // 2, i, 6, 5) if i % 11 else None

    given_ = list(pairs(45, wandering))
    for filled, (frame, mask) in zip(stream(generator, given_, CROP), given_, strict=True):
        assert torch.equal(filled[mask == 0], frame[mask == 0])
        assert not mask.any() or (filled[mask != 0] != frame[mask != 0]).float().mean() > 0.9


def test_a_hole_larger_than_the_crop_enlarges_the_area(generator):
    given_ = list(pairs(3, lambda _: Area(0, 0, 40, 56)))
    whole = list(stream(generator, given_, Schedule()))
    assert all(map(torch.equal, stream(generator, given_, CROP), whole))


def test_features_are_recomputed_only_when_the_area_moves(generator, monkeypatch):
    encoded = []
    encode = generator.encode
    monkeypatch.setattr(
        generator, "encode", lambda frames: encoded.append(frames.shape) or encode(frames)
    )
    still = list(pairs(30, lambda _: Area(10, 10, 4, 4)))
    assert len(list(stream(generator, still, CROP))) == 30
    assert len(encoded) == 30
    assert set(encoded) == {(1, 3, SIDE, SIDE)}
    assert len(list(stream(generator, pairs(30, lambda i: Area(i, 10, 4, 4)), CROP))) == 30
    assert 60 < len(encoded) < 30 + 30 * 8
