"""Whole videos through a small generator, against a plain implementation of the schedule."""

import functools
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.small import SIDE, small_generator
from training.model import inpaint
from training.model.inpaint import Schedule, stream


@pytest.fixture(scope="module")
def generator():
    return small_generator(seed=1).eval()


def video(length, seed=0):
    """Frames that all differ; a hole that moves, and none in every ninth frame."""
    random = torch.Generator().manual_seed(seed)
    frames, masks = [], []
    for i in range(length):
        frames.append(torch.randint(0, 256, (SIDE, SIDE, 3), generator=random, dtype=torch.uint8))
        mask = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
        if i % 9 != 8:
            mask[i % 7 : i % 7 + 8, 3:12] = 255
        masks.append(mask)
    return frames, masks


def inpainted(generator, frames, masks, schedule=None):
    return list(stream(generator, zip(frames, masks, strict=True), schedule or Schedule()))


@torch.no_grad()
def plainly(generator, frames, masks, schedule):
    """The schedule with the whole video at hand and nothing kept between windows."""
    length = len(frames)
    pixels = torch.stack(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    holes = (torch.stack(masks) != 0).float().unsqueeze(1)
    predictions = [[] for _ in frames]
    for centre in range(0, length, schedule.stride):
        window = [i for i in range(length) if abs(i - centre) <= schedule.reach]
        candidates = [i for i in range(0, length, schedule.reference_every) if i not in window]
        side = length if schedule.reference else schedule.references_per_side
        before = [i for i in candidates if i < centre][::-1][:side][::-1]
        after = [i for i in candidates if i > centre][:side]
        if any(holes[i].any() for i in window):
            seen = window + before + after
            output = generator((pixels * (1 - holes))[None, seen], holes[None, seen])[0]
            for i, prediction in zip(window, output, strict=False):
                predictions[i].append(prediction)
    results = []
    for frame, mask, found in zip(frames, masks, predictions, strict=True):
        result = frame.clone()
        if found:
            levels = [(one.permute(1, 2, 0) + 1) / 2 * 255 for one in found]
            if schedule.reference:
                levels = [one.floor() for one in levels]
            blend = functools.reduce(lambda old, new: (old + new) / 2, levels)
            whole = blend.floor() if schedule.reference else blend.round()
            result[mask != 0] = whole.clamp(0, 255).to(torch.uint8)[mask != 0]
        results.append(result)
    return results


SCHEDULES = {
    "default": Schedule(),
    "close": Schedule(stride=2, reach=3, reference_every=3, references_per_side=1),
    "no references": Schedule(references_per_side=0),
    "windows that do not overlap": Schedule(stride=1, reach=0, references_per_side=2),
    "reference": Schedule(reference=True),
}
BOUNDED = {name: one for name, one in SCHEDULES.items() if not one.reference}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("length", [1, 3, 11, 37, 60])
def test_streaming_equals_a_plain_implementation_of_the_schedule(generator, length, schedule):
    frames, masks = video(length)
    found = torch.stack(inpainted(generator, frames, masks, schedule)).int()
    wanted = torch.stack(plainly(generator, frames, masks, schedule)).int()
    # Frames are encoded one by one here, together there: a rounding may fall the other way.
    difference = (found - wanted).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 1e-3


def test_references_and_blending_change_the_result(generator):
    """Else the test above would not detect their absence."""
    frames, masks = video(37)
    results = [torch.stack(inpainted(generator, frames, masks, s)) for s in BOUNDED.values()]
    for i, one in enumerate(results):
        for other in results[:i]:
            assert ((one.int() - other.int()).abs() > 1).float().mean() > 0.01


def test_references_of_a_whole_long_video_change_the_result(generator):
    frames, masks = video(77)
    ours, reference = (
        torch.stack(inpainted(generator, frames, masks, SCHEDULES[name])).int()
        for name in ("default", "reference")
    )
    assert (ours - reference).abs().max() > 2


@pytest.mark.parametrize("length", [1, 11, 23, 50])
def test_short_videos_lie_within_two_grey_levels_of_the_reference(generator, length):
    frames, masks = video(length)
    ours = torch.stack(inpainted(generator, frames, masks)).int()
    reference = torch.stack(inpainted(generator, frames, masks, Schedule(reference=True))).int()
    assert 0 < (ours - reference).abs().max() <= 2
    assert (ours >= reference).all()  # which truncates where ours rounds


@pytest.mark.parametrize("length", [1, 12, 60])
def test_pixels_outside_the_holes_come_back_bit_for_bit(generator, length):
    frames, masks = video(length)
    for frame, mask, result in zip(frames, masks, inpainted(generator, frames, masks), strict=True):
        assert result.dtype == torch.uint8
        assert torch.equal(result[mask == 0], frame[mask == 0])
        assert not mask.any() or not torch.equal(result, frame)


def test_a_video_without_holes_is_returned_without_running_the_network(generator, monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("the network ran")

    for name in ("encode", "transform", "decode"):
        monkeypatch.setattr(generator, name, never)
    frames, masks = video(30)
    results = inpainted(generator, frames, [torch.zeros_like(mask) for mask in masks])
    assert all(map(torch.equal, results, frames))


def test_pixels_inside_the_hole_do_not_affect_the_result(generator):
    frames, masks = video(12)
    other = [frame.clone() for frame in frames]
    for frame, mask in zip(other, masks, strict=True):
        frame[mask != 0] = 77
    for one, two, mask in zip(
        inpainted(generator, frames, masks), inpainted(generator, other, masks), masks, strict=True
    ):
        assert torch.equal(one[mask != 0], two[mask != 0])


def test_any_nonzero_mask_value_marks_a_hole(generator):
    frames, masks = video(5)
    ones = [(mask != 0).to(torch.uint8) for mask in masks]
    assert all(
        map(torch.equal, inpainted(generator, frames, masks), inpainted(generator, frames, ones))
    )


@pytest.mark.parametrize("schedule", BOUNDED.values(), ids=BOUNDED)
def test_streaming_has_bounded_lookahead(generator, schedule):
    read = 0

    def pairs():
        nonlocal read
        for pair in zip(*video(120), strict=True):
            read += 1
            yield pair

    for number, _ in enumerate(stream(generator, pairs(), schedule)):
        # The last window that predicts a frame stands at most `reach` after it.
        assert read <= number + 1 + schedule.reach + schedule.ahead
    assert read == 120


def test_memory_is_bounded_and_each_frame_is_encoded_once(generator, monkeypatch):
    held, features, encoded = [], [], 0
    encode = generator.encode

    def counted(frames):
        nonlocal encoded
        encoded += len(frames)
        result = encode(frames)
        features.append(weakref.ref(result))
        return result

    monkeypatch.setattr(generator, "encode", counted)

    def pairs():
        frames, masks = video(10)
        for i in range(300):
            frame = frames[i % 10].clone()
            held.append(weakref.ref(frame))
            yield frame, masks[i % 10]

    schedule = Schedule()
    most = {"frames": 0, "features": 0}
    for _ in stream(generator, pairs(), schedule):
        for name, known in (("frames", held), ("features", features)):
            most[name] = max(most[name], sum(ref() is not None for ref in known))
    # What a window may look at on both sides, and what is read or kept until the next one.
    bound = 2 * schedule.ahead + schedule.reference_every + schedule.stride
    assert 0 < most["features"] <= most["frames"] <= bound + 1
    assert encoded <= 300


def test_changing_frame_sizes_are_refused_with_both_sizes(generator):
    frames, masks = video(3)
    frames[2] = torch.zeros(SIDE, 2 * SIDE, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"frame 2 is \(16, 32, 3\).*began with \(16, 16, 3\)"):
        inpainted(generator, frames, masks)


def test_a_mask_of_another_size_is_refused_with_both_sizes(generator):
    frames, masks = video(2)
    masks[1] = masks[1][:, :-4]
    with pytest.raises(ValueError, match=r"frame 1 is \(16, 16, 3\) with a mask \(16, 12\)"):
        inpainted(generator, frames, masks)


@pytest.mark.parametrize(
    "frame",
    [
        torch.zeros(SIDE, SIDE, 3),
        torch.zeros(SIDE, SIDE, dtype=torch.uint8),
        torch.zeros(3, SIDE, SIDE, dtype=torch.uint8),
    ],
)
def test_invalid_frames_are_refused(generator, frame):
    with pytest.raises(ValueError, match=r"wanted uint8 \[H, W, 3\]"):
        inpainted(generator, [frame], video(1)[1])


@pytest.mark.parametrize(("height", "width"), [(20, 16), (9, 23), (1, 3)])
def test_a_size_that_the_grids_do_not_divide_is_padded_by_reflection(generator, height, width):
    frames, masks = video(12)
    frames = [frame.repeat(2, 2, 1)[:height, :width] for frame in frames]
    masks = [mask.repeat(2, 2)[:height, :width] for mask in masks]
    found = inpainted(generator, frames, masks)
    sides = -height % 8, -width % 8

    def padded(image):
        extra = [(0, sides[0]), (0, sides[1]), (0, 0)][: image.ndim]
        return torch.from_numpy(np.pad(image.numpy(), extra, mode="reflect"))

    wanted = inpainted(generator, list(map(padded, frames)), list(map(padded, masks)))
    assert all(
        torch.equal(one, two[:height, :width]) for one, two in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("value", [77, 254])
def test_a_mask_of_more_than_two_values_is_refused(generator, value):
    frames, masks = video(3)
    masks[1][0, 0] = value
    with pytest.raises(ValueError, match="mask of frame 1 has 3 values, from 0 to 255"):
        inpainted(generator, frames, masks)


def test_a_window_that_does_not_fit_in_memory_is_refused_with_both_numbers(generator, monkeypatch):
    monkeypatch.setattr(inpaint, "free_bytes", lambda _device: 2**19)
    frames, masks = video(3)
    large = [one.repeat(8, 8, 1) for one in frames], [one.repeat(8, 8) for one in masks]
    with pytest.raises(ValueError, match=r"3 frames of 128x128 .* 0\.0 GiB.*crop_width"):
        inpainted(generator, *large)
    assert len(inpainted(generator, frames, masks)) == 3


def test_an_empty_video_is_refused(generator):
    with pytest.raises(ValueError, match="0 frames"):
        inpainted(generator, [], [])


def schedules():
    return st.builds(
        dict,
        stride=st.integers(1, 12),
        reach=st.integers(0, 6),
        reference_every=st.integers(1, 10),
        references_per_side=st.integers(0, 4),
    )


@given(schedules(), st.integers(1, 80))
def test_every_schedule_that_is_accepted_predicts_every_frame(numbers, length):
    try:
        schedule = Schedule(**numbers)
    except ValueError:
        return
    centres = range(0, length, schedule.stride)
    predicted = {i for centre in centres for i in schedule.neighbours(centre, length)}
    assert predicted == set(range(length))


@given(schedules(), st.integers(1, 80))
@settings(max_examples=200)
def test_references_are_beside_the_window_nearest_first_on_each_side(numbers, length):
    numbers["stride"] = 1
    schedule = Schedule(**numbers)
    for centre in range(length):
        window = schedule.neighbours(centre, length)
        references = schedule.references(centre, length)
        assert references == sorted(set(references) - set(window))
        assert all(0 <= i < length and i % schedule.reference_every == 0 for i in references)
        assert all(i <= centre + schedule.ahead for i in references)
        for side in (
            [i for i in references if i < centre],
            [i for i in references if i > centre],
        ):
            assert len(side) <= schedule.references_per_side


@pytest.mark.parametrize(
    "numbers",
    [
        {"stride": 0},
        {"reach": -1},
        {"reference_every": 0},
        {"references_per_side": -1},
        {"stride": 7, "reach": 5},
        {"crop_width": -1, "crop_height": -1},
    ],
)
def test_an_invalid_schedule_is_refused(numbers):
    with pytest.raises(ValueError, match="stride"):
        Schedule(**numbers)
