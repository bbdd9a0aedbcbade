"""Whole videos through generators whose holes come filled, and through others given such frames."""

from functools import partial

import pytest
import torch

from mlops.fills.propagation import diffused, propagated
from tests.panning import hidden, moving_hole, panned
from tests.training.small import SIDE, small_generator
from tests.training.test_inpaint import inpainted as unfilled
from training.model.generator import unsure
from training.model.given import Filled
from training.model.inpaint import Schedule, stream

HEIGHT, WIDTH, REACH = 32, 48, 4
CLOSE = Schedule(stride=2, reach=3, reference_every=3, references_per_side=1)


def of_tensors(fill):
    def filled(pairs):
        for one in fill((frame.numpy(), mask.numpy()) for frame, mask in pairs):
            yield Filled(*map(torch.from_numpy, (one.frame, one.belief, one.alone)))

    return filled


FILLS = {
    "diffuse": of_tensors(diffused),
    "propagate": of_tensors(partial(propagated, reach=REACH)),
}
SCHEDULES = {
    "default": Schedule(),
    "close": CLOSE,
    "no references": Schedule(references_per_side=0),
    "reference": Schedule(reference=True),
}


def video(length):
    """A hole that moves; nothing is hidden in every fifth frame."""
    masks = moving_hole(length, step=2, first=4, top=8, height=HEIGHT, width=WIDTH)
    masks[4::5] = 0
    frames = hidden(panned(length, 0.5, 1, height=HEIGHT, width=WIDTH), masks)
    return [torch.from_numpy(one) for one in frames], [torch.from_numpy(one) for one in masks]


def inpainted(generator, frames, masks, schedule=CLOSE):
    return list(stream(generator, zip(frames, masks, strict=True), schedule, FILLS))


def filled(fill, frames, masks):
    return list(FILLS[fill](zip(frames, masks, strict=True)))


@pytest.mark.parametrize("fill", ["diffuse", "propagate"])
@pytest.mark.parametrize("length", [1, 2, 14])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_an_untrained_generator_returns_the_fill_of_a_video(fill, length, schedule):
    frames, masks = video(length)
    found = inpainted(small_generator(fill=fill).eval(), frames, masks, schedule)
    assert len(found) == length
    for one, wanted in zip(found, filled(fill, frames, masks), strict=True):
        assert torch.equal(one, wanted.frame)


@torch.no_grad()
def plainly(generator, frames, masks, schedule):
    """The schedule with the whole video at hand and nothing kept between windows."""
    length, given = len(frames), filled(generator.fill, frames, masks)
    holes = (torch.stack(masks) != 0).float().unsqueeze(1)
    near, far = (
        levels(torch.stack([getattr(one, which) for one in given])) for which in ("frame", "alone")
    )
    belief = torch.stack([one.belief for one in given]).permute(0, 3, 1, 2)
    nothing_found = (1 - holes).expand(-1, 2, -1, -1)
    blends = [None] * length
    for centre in range(0, length, schedule.stride):
        window = list(schedule.neighbours(centre, length))
        others = schedule.references(centre, length)
        if not any(holes[i].any() for i in window):
            continue
        output = generator(
            torch.cat([near[window], far[others]])[None],
            torch.cat([holes[window], holes[others]])[None],
            torch.cat([belief[window], nothing_found[others]])[None],
            far[[*window, *others]][None],
        )[0]
        for i, one in zip(window, output, strict=False):
            new = (one.permute(1, 2, 0) + 1) / 2 * 255
            blends[i] = new if blends[i] is None else (blends[i] + new) / 2
    results = []
    for frame, mask, blend in zip(frames, masks, blends, strict=True):
        result = frame.clone()
        if blend is not None:
            result[mask != 0] = blend.round().clamp(0, 255).to(torch.uint8)[mask != 0]
        results.append(result)
    return results


def levels(frames):
    return frames.permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.mark.parametrize("fill", ["diffuse", "propagate"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_streaming_equals_a_plain_implementation_of_the_schedule(fill, schedule):
    """References are filled from their own frame only."""
    generator = small_generator(seed=1, fill=fill, trained=True).eval()
    frames, masks = video(24)
    found = torch.stack(inpainted(generator, frames, masks, schedule)).int()
    wanted = torch.stack(plainly(generator, frames, masks, schedule)).int()
    difference = (found - wanted).abs()
    assert difference.max() <= 1
    assert difference.float().mean() < 1e-3
    corrected = torch.stack([one.frame for one in filled(fill, frames, masks)]).int()
    assert (found - corrected).abs().float().mean() > 1  # the comparison means something


def test_known_and_confident_pixels_pass_bit_for_bit():
    generator = small_generator(seed=1, fill="propagate", trained=True).eval()
    frames, masks = video(14)
    given = filled("propagate", frames, masks)
    for one, mask, wanted in zip(inpainted(generator, frames, masks), masks, given, strict=True):
        is_open = left(mask, wanted)
        assert torch.equal(one[~is_open], wanted.frame[~is_open])
        assert not is_open.any() or not torch.equal(one, wanted.frame)


def left(mask, found):
    """[H, W], the hole pixels without a confident fill."""
    return unsure((mask != 0).float()[None], found.belief.permute(2, 0, 1))[0] != 0


@pytest.mark.parametrize("fill", ["none", "diffuse"])
def test_any_generator_accepts_propagated_frames_and_the_remaining_hole(fill):
    generator = small_generator(seed=1, fill=fill, trained=True).eval()
    frames, masks = video(14)
    given = filled("propagate", frames, masks)
    holes = [left(mask, found) for mask, found in zip(masks, given, strict=True)]
    assert 0 < sum(int(hole.sum()) for hole in holes) < sum(int((m != 0).sum()) for m in masks)
    schedule = Schedule(stride=2, reach=3, reference_every=3, propagate=True)
    composed = [
        torch.where(hole[..., None], frame, found.frame)
        for hole, frame, found in zip(holes, frames, given, strict=True)
    ]
    by_hand = Schedule(stride=2, reach=3, reference_every=3)
    wanted = inpainted(generator, composed, [hole.byte() for hole in holes], by_hand)
    found = inpainted(generator, frames, masks, schedule)
    assert all(map(torch.equal, found, wanted))
    for one, hole, sure in zip(found, holes, given, strict=True):
        assert torch.equal(one[~hole], sure.frame[~hole])
    assert not all(map(torch.equal, found, inpainted(generator, frames, masks, by_hand)))


def test_a_propagation_generator_gets_propagated_frames_once():
    generator = small_generator(seed=1, fill="propagate", trained=True).eval()
    frames, masks = video(8)
    twice = Schedule(stride=2, reach=3, reference_every=3, references_per_side=1, propagate=True)
    found = inpainted(generator, frames, masks, twice)
    assert all(map(torch.equal, found, inpainted(generator, frames, masks)))


@pytest.mark.parametrize("propagate", [False, True])
def test_a_video_without_holes_is_returned_without_running_the_network(propagate, monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("the network ran")

    for fill in ("none", "propagate"):
        generator = small_generator(fill=fill).eval()
        for name in ("encode", "transform", "decode"):
            monkeypatch.setattr(generator, name, never)
        frames, masks = video(6)
        masks = [torch.zeros_like(mask) for mask in masks]
        found = inpainted(generator, frames, masks, Schedule(propagate=propagate))
        assert all(map(torch.equal, found, frames))


@pytest.mark.parametrize("schedule", [CLOSE, Schedule(stride=1, reach=0, references_per_side=0)])
@pytest.mark.parametrize("fill", ["none", "propagate"])
def test_streaming_has_bounded_lookahead(schedule, fill):
    read = 0

    def pairs():
        nonlocal read
        for pair in zip(*video(30), strict=True):
            read += 1
            yield pair

    how = Schedule(**{name: getattr(schedule, name) for name in WINDOWS}, propagate=True)
    generator = small_generator(fill=fill).eval()
    for number, _ in enumerate(stream(generator, pairs(), how, FILLS)):
        assert read <= number + 1 + schedule.reach + schedule.ahead + REACH
    assert read == 30


WINDOWS = ("stride", "reach", "reference_every", "references_per_side")


def test_crops_and_padded_sizes_are_filled_identically():
    generator = small_generator(fill="propagate").eval()
    frames, masks = video(8)
    wanted = [one.frame for one in filled("propagate", frames, masks)]
    crop = Schedule(crop_width=16, crop_height=16)
    assert all(map(torch.equal, inpainted(generator, frames, masks, crop), wanted))
    odd = [one[:-3, :-5] for one in frames], [one[:-3, :-5] for one in masks]
    wanted = [one.frame for one in filled("propagate", *odd)]
    assert all(map(torch.equal, inpainted(generator, *odd), wanted))


def test_a_generator_without_a_fill_needs_no_fill_function():
    frames, masks = ([one[:SIDE, :SIDE] for one in part] for part in video(5))
    generator = small_generator(seed=1).eval()
    found = inpainted(generator, frames, masks, Schedule())
    assert all(map(torch.equal, found, unfilled(generator, frames, masks)))


@pytest.mark.parametrize("fill", ["none", "propagate"])
def test_bad_pairs_are_refused_before_they_are_filled(fill):
    frames, masks = video(3)
    masks[1] = masks[1][:, :-4]
    with pytest.raises(ValueError, match=r"frame 1 is \(32, 48, 3\) with a mask \(32, 44\)"):
        inpainted(small_generator(fill=fill), frames, masks, Schedule(propagate=True))
    with pytest.raises(ValueError, match="0 frames"):
        inpainted(small_generator(fill=fill), [], [], Schedule(propagate=True))
