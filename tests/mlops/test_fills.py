"""Diffusion and propagation on videos with known ground truth, and on degenerate inputs."""

import struct
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import diags_array, identity, kron
from scipy.sparse.linalg import spsolve

from data_pipeline.cli.command import UserError
from mlops.evaluation.flow import given as given_flow
from mlops.fills.diffusion import diffuse, extended
from mlops.fills.flow import dis
from mlops.fills.propagation import Propagation, diffused, propagated
from tests.panning import HEIGHT, HOLE, WIDTH, hidden, moving_hole, panned, psnr_db

SURE = np.exp(-0.5)  # flow consistency from which a generator passes propagated pixels through
KNOWN = np.array([1, 1], np.float32)


def filled(video, masks, fill=propagated, **how):
    """Filled frames [T,H,W,3] and confidences [T,H,W,2] of a video with holes."""
    results = list(fill(zip(hidden(video, masks), masks, strict=True), **how))
    return np.stack([one.frame for one in results]), np.stack([one.belief for one in results])


def constant_flow(forward, backward):
    """A flow source that gives the same flow (x, y) everywhere."""

    def between(_number, first, _second):
        size = first.shape[:2]
        return tuple(np.full((*size, 2), one, np.float32) for one in (forward, backward))

    return between


STILL = constant_flow((0, 0), (0, 0))
# Pan in pixels a frame (y, x), and the hole's motion: each pixel is visible before or after.
PANS = {
    "still": (0, 0, {"step": 3}),
    "by whole pixels": (0, 2, {"step": 3}),
    "aslant": (1, -2, {"step": -3, "first": 70}),
    "by parts of a pixel": (0.5, 1.25, {"step": 4}),
    "slowly": (0.3, -0.7, {"step": 3}),
}


@pytest.mark.parametrize(("y_step", "x_step", "way"), PANS.values(), ids=PANS)
def test_pixels_visible_in_another_frame_are_restored(y_step, x_step, way):
    video, masks = panned(16, y_step, x_step), moving_hole(16, **way)
    found, belief = filled(video, masks)
    hole = masks != 0
    assert (belief[hole] > 0).all()
    assert psnr_db(found, video, hole) > 45
    assert psnr_db(filled(video, masks, diffused)[0], video, hole) < 30
    assert (belief[hole][:, 1] > SURE).mean() > 0.8


def test_flow_from_files_restores_a_pan(tmp_path):
    """As any flow network may write it: here the ground truth."""
    video, masks = panned(12, 1, -2), moving_hole(12, step=-3, first=70)
    for number in range(11):
        write_flow(tmp_path / "dog", number, (2, -1))
    found, belief = filled(video, masks, source=given_flow(str(tmp_path), "dog"))
    hole = masks != 0
    assert psnr_db(found, video, hole) > 45
    assert (belief[hole][:, 1] > 0.999).all()


def write_flow(folder, number, forward, height=HEIGHT, width=WIDTH):
    """Constant flow, forward and backward."""
    for way, sign in (("forward", 1), ("backward", -1)):
        path = folder / way / f"{number:05d}.flo"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.full((height, width, 2), forward, "<f4") * np.float32(sign)
        path.write_bytes(b"PIEH" + struct.pack("<ii", width, height) + values.tobytes())


@pytest.mark.parametrize(
    ("files", "size", "words"),
    [
        (5, (HEIGHT, WIDTH), r"no optical flow .*/dog/forward/00005.flo: --flows wants"),
        (0, (HEIGHT, WIDTH), r"no optical flow .*/dog/forward/00000.flo"),
        (11, (HEIGHT, WIDTH - 1), r"is no .flo file of 96x64 pixels \(it says 95x64 in"),
    ],
)
def test_flow_files_of_another_count_or_size_are_refused(tmp_path, files, size, words):
    for number in range(files):
        write_flow(tmp_path / "dog", number, (0, 0), *size)
    video, masks = panned(12, 0, 0), moving_hole(12, step=3)
    with pytest.raises(UserError, match=words):
        filled(video, masks, source=given_flow(str(tmp_path), "dog"))


def test_a_hole_never_visible_elsewhere_is_diffused():
    video, masks = panned(6, 0, 0), moving_hole(6, step=0, first=40)
    found, belief = filled(video, masks)
    wanted, _ = filled(video, masks, diffused)
    assert np.array_equal(found, wanted)
    assert not belief[masks != 0].any()


DISAGREEING = {
    "another way back": constant_flow((9, 0), (9, 0)),
    "far apart": constant_flow((3, 0), (3, 4)),
    "beyond the frame": constant_flow((200, 0), (-200, 0)),
    "no number": constant_flow((np.nan, 0), (np.nan, 0)),
    "not known, as .flo files say": constant_flow((1e10, 1e10), (1e10, 1e10)),
}


@pytest.mark.parametrize("source", DISAGREEING.values(), ids=DISAGREEING)
def test_inconsistent_flow_is_not_trusted(source):
    video, masks = panned(8, 0, 0), moving_hole(8, step=4)
    found, belief = filled(video, masks, source=source)
    wanted, _ = filled(video, masks, diffused)
    assert np.array_equal(found, wanted)
    assert not belief[masks != 0].any()


def test_confidence_falls_exponentially_with_flow_inconsistency():
    video, masks = panned(2, 0, 0), moving_hole(2, step=2 * HOLE)
    for apart in (0, 0.5, 1, 3):
        _, belief = filled(video, masks, source=constant_flow((apart, 0), (0, 0)))
        hole = masks[0] != 0
        np.testing.assert_allclose(belief[0, hole, 1], np.exp(-apart), rtol=1e-5)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_no_confidence_across_a_scene_cut(seed):
    """The pixels behind the hole are visible in the other scene only."""
    video = np.concatenate([panned(6, 0, 2), panned(6, 0, 2, seed=seed)])
    masks = moving_hole(12, step=-2, first=40)  # as the picture: within a scene nothing appears
    masks[:, :, :20] = 0
    masks[6:] = moving_hole(6, step=-2, first=70)
    _, belief = filled(video, masks)
    assert (belief[masks != 0][:, 1] < SURE).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_little_confidence_on_noise(seed):
    """Some of it seems to move, by chance."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, HEIGHT, WIDTH, 3), np.uint8)
    _, belief = filled(noise, masks := moving_hole(8, step=4))
    found = belief[masks != 0][:, 1]
    assert found.mean() < 0.35
    assert (found > SURE).mean() < 0.25


def test_known_pixels_pass_unchanged_with_full_confidence():
    video, masks = panned(8, 0.5, 1.25), moving_hole(8, step=4)
    for fill in (diffused, propagated):
        found, belief = filled(video, masks, fill)
        known = masks == 0
        assert np.array_equal(found[known], video[known])
        assert (belief[known] == KNOWN).all()
        assert belief.dtype == np.float32


def test_pixels_inside_the_hole_do_not_affect_the_result():
    video, masks = panned(8, 0, 2), moving_hole(8, step=4)
    found, _ = filled(video, masks)
    seen_through = list(propagated(zip(video, masks, strict=True)))
    assert np.array_equal(np.stack([one.frame for one in seen_through]), found)


def test_nearness_is_the_frame_distance_of_the_source_pixel():
    video, masks = panned(9, 0, 0), moving_hole(9, step=0)
    hole = masks[0] != 0
    masks[5:] = 0  # seen in frames 5 to 8
    _, belief = filled(video, masks, source=STILL)
    for t in range(5):
        np.testing.assert_allclose(belief[t, hole], [(1 / (1 + 5 - t), 1)] * hole.sum(), rtol=1e-5)
    masks[0] = 0  # and in frame 0
    _, belief = filled(video, masks, source=STILL)
    assert (belief[1, hole, 0] > 1 / 3).all()  # mostly from one frame away, a little from four
    assert (belief[1, hole, 0] < 1 / 2).all()
    masks[1] = 0  # frame 3 lies two frames from both
    _, belief = filled(video, masks, source=STILL)
    np.testing.assert_allclose(belief[3, hole, 0], 1 / 3, rtol=1e-5)


def test_frames_out_of_reach_are_not_used():
    video, masks = panned(9, 0, 0), moving_hole(9, step=0)
    masks[5:] = 0
    found, belief = filled(video, masks, source=STILL, reach=3)
    hole = masks[0] != 0
    assert not belief[:2, hole].any()
    assert (belief[2:, hole] > 0).all()
    np.testing.assert_array_equal(found[:2], filled(video, masks, diffused)[0][:2])
    np.testing.assert_array_equal(found[2:5], video[2:5])


def test_each_frame_has_its_single_frame_diffusion():
    video, masks = panned(6, 0, 2), moving_hole(6, step=4)
    pairs = list(zip(hidden(video, masks), masks, strict=True))
    alone = np.stack([one.alone for one in propagated(pairs)])
    assert np.array_equal(alone, np.stack([one.frame for one in diffused(pairs)]))


def test_streaming_equals_random_access_propagation():
    video, masks = panned(14, 0.5, 1.25), moving_hole(14, step=4)
    found, belief = filled(video, masks, reach=3)
    held = Propagation(reach=3)
    for frame, mask in zip(hidden(video, masks), masks, strict=True):
        held.add(frame, mask)
    for number in reversed(range(14)):  # in any order
        one = held.filled(number)
        assert np.array_equal(one.frame, found[number])
        assert np.array_equal(one.belief, belief[number])


def test_a_frame_does_not_depend_on_frames_out_of_reach():
    video, masks = panned(12, 0, 2), moving_hole(12, step=3)
    whole, _ = filled(video, masks, reach=3)
    cut, _ = filled(video[2:9], masks[2:9], reach=3)
    assert np.array_equal(cut[3], whole[5])
    assert not np.array_equal(cut[4], whole[6])


def test_streaming_bounds_lookahead_and_memory():
    held, read, reach = [], 0, 4
    video, masks = panned(6, 0, 0), moving_hole(6, step=4)

    def pairs():
        nonlocal read
        for number in range(40):
            read += 1
            yield video[number % 6].copy(), masks[number % 6]

    def noting(number, first, second):
        held.extend(map(weakref.ref, (first, second)))
        return STILL(number, first, second)

    most = 0
    for number, _ in enumerate(propagated(pairs(), source=noting, reach=reach)):
        assert read <= number + reach + 1
        most = max(most, len({id(one()) for one in held if one() is not None}))
    assert read == 40
    assert reach < most <= 2 * reach + 2


def test_the_flow_source_gets_the_first_frame_number_once_per_pair():
    numbers = []

    def noting(number, first, second):
        numbers.append(number)
        return STILL(number, first, second)

    video, masks = panned(5, 0, 0), moving_hole(5, step=4)
    stretch = Propagation(noting, first=30)
    for frame, mask in zip(video, masks, strict=True):
        stretch.add(frame, mask)
    for number in range(5):
        stretch.filled(number)
    assert sorted(numbers) == [30, 31, 32, 33]


def nothing_hidden(frames):
    return np.zeros((frames, HEIGHT, WIDTH), np.uint8)


@pytest.mark.parametrize("frames", [1, 3])
def test_without_a_hole_nothing_changes_and_no_flow_is_requested(frames):
    def never(*_args):
        raise AssertionError("flow was requested")

    video = panned(frames, 0, 2)
    found, belief = filled(video, nothing_hidden(frames), source=never)
    assert np.array_equal(found, video)
    assert (belief == KNOWN).all()


def test_one_frame_is_diffused():
    video, masks = panned(1, 0, 0), moving_hole(1, step=0)
    found, belief = filled(video, masks)
    assert np.array_equal(found, filled(video, masks, diffused)[0])
    assert not belief[masks != 0].any()


def test_a_frame_that_is_all_hole_comes_from_its_neighbours_or_is_grey():
    video = panned(5, 0, 0)
    masks = nothing_hidden(5)
    masks[2] = 255
    found, _ = filled(video, masks, source=STILL)
    assert np.array_equal(found[2], video[2])
    found, belief = filled(video, np.full_like(masks, 255))
    assert (found == 128).all()
    assert not belief.any()


@settings(max_examples=30)
@given(
    st.integers(1, 4),
    st.integers(1, 21),
    st.integers(1, 21),
    st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    st.integers(0, 2**30),
)
def test_frames_of_any_size_and_holes_of_any_shape_are_filled(frames, height, width, share, seed):
    random = np.random.default_rng(seed)
    video = random.integers(0, 256, (frames, height, width, 3), np.uint8)
    masks = (random.random((frames, height, width)) < share).astype(np.uint8)
    for fill in (diffused, propagated):
        found, belief = filled(video, masks, fill)
        assert found.dtype == np.uint8
        assert found.shape == video.shape
        assert np.array_equal(found[masks == 0], video[masks == 0])
        assert belief.shape == (frames, height, width, 2)
        assert ((belief >= 0) & (belief <= 1)).all()


def test_an_empty_video_gives_no_frames():
    assert list(propagated([])) == list(diffused([])) == []


def a_hole(height=HEIGHT, width=WIDTH):
    """An irregular hole, away from the frame's border."""
    y, x = np.mgrid[:height, :width]
    return (((y - 30) ** 2 + (x - 40) ** 2) < 225) | ((abs(y - 34) < 4) & (abs(x - 55) < 20))


def test_diffusion_continues_ramps_and_constants():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ramps = np.stack([20 + x * 2, 200 - 2 * y, 10 + x + y], axis=-1).astype(np.uint8)
    hole = a_hole()
    difference = diffuse(np.where(hole[..., None], 0, ramps).astype(np.uint8), hole) - ramps.astype(
        int
    )
    assert abs(difference).max() <= 1
    grey = np.full((HEIGHT, WIDTH, 3), (7, 99, 255), np.uint8)
    assert np.array_equal(diffuse(np.where(hole[..., None], 0, grey).astype(np.uint8), hole), grey)


@pytest.mark.parametrize("at_the_rim", [False, True])
def test_diffusion_solves_laplaces_equation(at_the_rim):
    frame, hole = panned(1, 0, 0)[0], a_hole()
    if at_the_rim:
        hole = np.roll(hole, (20, -35), axis=(0, 1))
        hole[:30, 60:] = True
    difference = diffuse(frame, hole)[hole] - membrane(frame, hole)[hole]
    assert np.sqrt(np.square(difference).mean()) < 3
    assert np.quantile(abs(difference), 0.99) < 9


@pytest.mark.parametrize("largest", [0.1, 1, 100])
def test_guesses_are_followed_as_far_as_they_are_trusted(largest):
    frame, hole = panned(1, 0, 0)[0], a_hole()
    random = np.random.default_rng(0)
    guesses = np.where(hole[..., None], random.uniform(0, 255, frame.shape), frame)
    trust = (
        largest * random.uniform(0, 1, hole.shape) ** 4 * (random.uniform(size=hole.shape) < 0.5)
    )
    found = extended(guesses.astype(np.float32), hole, trust.astype(np.float32))
    difference = found[hole] - membrane(guesses, hole, trust)[hole]
    assert np.sqrt(np.square(difference).mean()) < 3
    assert np.array_equal(found[~hole], guesses.astype(np.float32)[~hole])


def test_without_a_known_pixel_guesses_are_all_there_is():
    values = np.full((9, 14, 3), 50, np.float32)
    values[4, 5] = 90
    nothing, trust = np.ones((9, 14), bool), np.zeros((9, 14), np.float32)
    assert (extended(values, nothing, trust) == 0).all()
    trust[4, 5] = 2
    assert extended(values, nothing, trust) == pytest.approx(90, abs=1e-3)


def test_what_was_found_says_what_lies_beside_it():
    """A bright spot is seen in another frame only in the middle of a hole that stays."""
    video = np.full((3, HEIGHT, WIDTH, 3), 40, np.uint8)
    video[:, 20:44, 30:66] = 200
    masks = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    masks[:, 10:54, 20:76] = 1
    masks[2, 24:40, 34:62] = 0  # most of the spot; its rim is never seen
    found, belief = filled(video, masks, source=STILL)
    alone, _ = filled(video, masks, diffused)
    hole = (masks[0] != 0) & (belief[0][..., 0] == 0)
    assert psnr_db(found[0], video[0], hole) > psnr_db(alone[0], video[0], hole) + 1
    spot = masks[0] & (1 - masks[2])
    assert np.array_equal(found[0][spot != 0], video[0][spot != 0])


def membrane(frame, hole, trust=None):
    """The exact solution, by a sparse solver; nothing flows through the edge of the frame."""

    def along(length):
        """Minus the second difference."""
        ends = np.array([1.0, *[2.0] * (length - 2), 1.0])
        return diags_array([-np.ones(length - 1), ends, -np.ones(length - 1)], offsets=[-1, 0, 1])

    height, width = hole.shape
    bent = kron(along(height), identity(width)) + kron(identity(height), along(width))
    unknown = np.flatnonzero(hole.ravel())
    known = np.flatnonzero(~hole.ravel())
    values = frame.reshape(-1, 3).astype(np.float64)
    rows = bent.tocsr()[unknown]
    held = np.zeros(len(unknown)) if trust is None else trust.ravel()[unknown].astype(float)
    pulled = held[:, None] * values[unknown] - rows[:, known] @ values[known]
    values[unknown] = spsolve((rows[:, unknown] + diags_array(held)).tocsc(), pulled)
    return values.reshape(frame.shape)


def test_diffusion_edge_cases_no_hole_all_hole_and_input_unchanged():
    frame = panned(1, 0, 0)[0]
    assert diffuse(frame, np.zeros((HEIGHT, WIDTH), bool)) is frame
    assert (diffuse(frame, np.ones((HEIGHT, WIDTH), bool)) == 128).all()
    before = frame.copy()
    diffuse(frame, a_hole())
    assert np.array_equal(frame, before)


def test_flow_of_small_frames_has_their_size():
    video = panned(2, 0, 2, height=9, width=40)
    forward, backward = dis()(0, *video)
    assert forward.shape == backward.shape == (9, 40, 2)
    assert np.median(forward[..., 0]) == pytest.approx(-2, abs=0.5)
