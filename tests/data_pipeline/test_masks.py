import json
import tracemalloc
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from skimage.measure import label

from data_pipeline.masks import free_form
from data_pipeline.masks.free_form import (
    MOVING,
    OBJECT,
    STATIC,
    mask_frames,
    variant_kinds,
    variant_seed,
)

OFFICIAL = json.loads((Path(__file__).parents[1] / "parity/mask_statistics.json").read_text())
DRAWS = 2000
NAMES = ("bbox_height", "bbox_width", "centroid_x", "centroid_y", "clip_mean_step")
NAMES = (*NAMES, "hole_area_share", "net_displacement", "step_abs_x", "step_abs_y", "step_euclid")
QUANTILES = (5, 25, 50, 75, 95)


def mask_sequence(*arguments):
    return np.stack(list(mask_frames(*arguments)))


def corner(mask):
    return mask.any(axis=1).argmax(), mask.any(axis=0).argmax()


@pytest.fixture(scope="module")
def drawn():
    """Statistics of `mask_statistics.json` for our own draws: [draws, values of a draw] each."""
    found = {name: [] for name in (*NAMES, "border", "components", "grid", "step_zero")}
    for seed in range(DRAWS):
        # Half the draws move, as in the official generator.
        moving = seed % 2 == 1
        clip = mask_sequence(MOVING if moving else STATIC, seed, 20 if moving else 1, 240, 432)
        for name, value in {**of_a_mask(clip[0]), **(of_a_walk(clip) if moving else {})}.items():
            found[name].append(np.ravel(value))
    return {name: np.array(values, dtype=float) for name, values in found.items()}


def of_a_mask(mask):
    rows, columns = np.nonzero(mask)
    top, left, bottom, right = rows.min(), columns.min(), rows.max(), columns.max()
    return {
        "hole_area_share": mask.mean(),
        "bbox_height": bottom - top + 1,
        "bbox_width": right - left + 1,
        "centroid_y": rows.mean(),
        "centroid_x": columns.mean(),
        "border": top == 0 or left == 0 or bottom == 239 or right == 431,
        "components": label(mask[top : bottom + 1, left : right + 1], connectivity=2).max(),
        "grid": mask.reshape(6, 40, 9, 48).mean(axis=(1, 3)),
    }


def of_a_walk(clip):
    places = np.array([corner(mask) for mask in clip])
    steps = np.diff(places, axis=0)
    lengths = np.hypot(*steps.T)
    return {
        "step_euclid": lengths,
        "step_abs_y": abs(steps[:, 0]),
        "step_abs_x": abs(steps[:, 1]),
        "step_zero": lengths == 0,
        "clip_mean_step": lengths.mean(),
        "net_displacement": np.hypot(*(places[-1] - places[0])),
    }


def standard_error(values):
    """Standard error of the difference between means over our draws and as many official ones."""
    return values.std(axis=0) * np.sqrt(2 / len(values))


@pytest.mark.parametrize("name", NAMES)
def test_means_and_standard_deviations_match_the_official_ones(drawn, name):
    """Within 3 standard errors; steps of one draw are correlated, so draws are the samples."""
    values, official = drawn[name].mean(axis=1), OFFICIAL[name]
    assert abs(values.mean() - official["mean"]) < 3 * standard_error(values)
    # The error of a standard deviation, by the error of the mean square deviation.
    squares = ((drawn[name] - drawn[name].mean()) ** 2).mean(axis=1)
    assert abs(squares.mean() - official["std"] ** 2) < 3 * standard_error(squares)


@pytest.mark.parametrize("name", NAMES)
def test_quantiles_match_the_official_ones(drawn, name):
    """The share of our values up to each official quantile is right within 3 standard errors."""
    for percent in QUANTILES:
        quantile = OFFICIAL[name][f"p{percent}"]
        below, up_to = (drawn[name] < quantile - 1e-6, drawn[name] <= quantile + 1e-6)
        # Many values may be the quantile itself: its percentage lies between the two shares.
        slack = 3 * standard_error(up_to.mean(axis=1))
        assert below.mean() - slack < percent / 100 < up_to.mean() + slack, percent
    # The extreme of all draws is as likely official as ours; ten times in a row ours is not.
    assert (drawn[name].max(axis=1) > OFFICIAL[name]["max"]).sum() < 10
    assert (drawn[name].min(axis=1) < OFFICIAL[name]["min"]).sum() < 10


def test_shares_match_the_official_ones(drawn):
    def close(values, share):
        return abs(values.mean() - share) < 3 * standard_error(values.mean(axis=1))

    assert close(drawn["border"], OFFICIAL["touches_border_share"])
    assert close(drawn["step_zero"], OFFICIAL["step_zero_share"])
    assert close(drawn["components"] == 1, OFFICIAL["components"]["1"] / OFFICIAL["what"]["draws"])
    assert drawn["components"].max() <= 4


def test_hole_positions_match_the_official_ones(drawn):
    official = np.ravel(OFFICIAL["hole_frequency_grid_6x9"])
    errors = (drawn["grid"].mean(axis=0) - official) / standard_error(drawn["grid"])
    # The largest of 54: 4 standard errors correspond to 3 of a single one. Overall their std is 1.
    assert abs(errors).max() < 4
    assert np.sqrt((errors**2).mean()) < 1.5


def test_a_shape_equals_that_of_matplotlib():
    wrong, total, boxes = 0, 0, []
    for seed in range(60):
        random = np.random.default_rng(seed)
        height, width = int(random.integers(80, 240)), int(random.integers(144, 432))
        words = random.integers(0, 2**64, 25, dtype=np.uint64).tolist()
        curve = free_form._curve(6 + seed % 3, 0.6 + seed // 3 % 3 / 10, words)
        wanted, found = official_drawing(curve, height, width), our_drawing(curve, height, width)
        wrong += (found != wanted).sum()
        total += wanted.sum()
        boxes.append([np.ptp(np.argwhere(m), axis=0) for m in (found, wanted)])
    assert wrong / total < 0.0055
    assert abs(np.diff(np.mean(boxes, axis=0), axis=0)).max() < 0.25


def our_drawing(curve, height, width):
    outline = free_form._outer_edge(curve)
    found = free_form._fill(outline, height, width)
    # It begins at the first pixel whose centre the outline spans.
    left, top = np.ceil(outline.min(axis=0) * (width, height) / (640, 480) - 0.5).astype(int)
    whole = np.zeros((height, width), dtype=bool)
    whole[top : top + found.shape[0], left : left + found.shape[1]] = found
    return whole


def official_drawing(curve, height, width):
    """Filled and with a line of 2 points in matplotlib, resized, and only what is black."""
    with mpl.rc_context({"path.simplify": False}):
        figure = Figure(figsize=(6.4, 4.8), dpi=100)
        canvas = FigureCanvasAgg(figure)
        closed = Outline([*curve * (1, -1) + (0, 480), curve[0] * (1, -1) + (0, 480)])
        figure.add_artist(PathPatch(closed, facecolor="black", lw=2, transform=None))
        canvas.draw()
    light = np.asarray(canvas.buffer_rgba())[..., 0].astype(float)
    for axis, size in enumerate((height, width)):
        place = (np.arange(size) + 0.5) * light.shape[axis] / size - 0.5
        first = np.floor(place).astype(int)
        share = np.expand_dims(place - first, 1 - axis)
        light = light.take(first, axis) * (1 - share) + light.take(first + 1, axis) * share
    return np.rint(light) == 0


@pytest.mark.parametrize("kind", [STATIC, MOVING])
@pytest.mark.parametrize(("height", "width"), [(240, 432), (96, 192), (17, 16)])
def test_masks_have_shape_and_values_and_are_deterministic(kind, height, width):
    for seed in range(20):
        sequence = mask_sequence(kind, seed, 7, height, width)
        assert sequence.shape == (7, height, width)
        assert sequence.dtype == np.uint8
        assert set(np.unique(sequence)) == {0, 1}
        assert sequence.any(axis=(1, 2)).all()
        assert not sequence.all(axis=(1, 2)).any()
        assert np.array_equal(sequence, mask_sequence(kind, seed, 7, height, width))


@pytest.mark.parametrize("kind", [STATIC, MOVING])
def test_the_masks_of_a_seed_are_pinned(kind):
    # Data sets store the name of their generator: changed masks need another name.
    assert free_form.GENERATOR == "free-form-2"
    sequence = mask_sequence(kind, 11, 50, 240, 432)
    expected = {STATIC: (77, 244), MOVING: (123, 317)}[kind]
    assert tuple(map(int, corner(sequence[49]))) == expected
    assert sequence[0].sum() == 6720


@pytest.mark.parametrize(("seed", "size"), [(117, 16), (180, 16), (26, 8), (38, 8)])
def test_a_shape_that_vanishes_is_drawn_again(seed, size):
    # The first shape of these seeds leaves no pixel at this size, before or after it is cut.
    assert mask_sequence(STATIC, seed, 1, size, size).any()


def test_stationary_masks_are_static_and_moving_masks_move():
    for seed in range(30):
        still = mask_sequence(STATIC, seed, 20, 240, 432)
        assert (still == still[0]).all()
        moving = mask_sequence(MOVING, seed, 20, 240, 432)
        places = [corner(mask) for mask in moving]
        assert len(set(places)) > 1
        # The shape itself is rigid, and the same as without motion.
        assert len({int(mask.sum()) for mask in [*moving, still[0]]}) == 1


def test_steps_scale_with_the_frame():
    small, large = (
        [
            np.hypot(*np.diff([corner(m) for m in mask_sequence(MOVING, s, 20, h, w)], axis=0).T)
            for s in range(200)
        ]
        for h, w in ((240, 432), (480, 864))
    )
    assert np.mean(large) / np.mean(small) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("kind", [STATIC, MOVING])
def test_a_longer_sequence_starts_with_the_shorter_one(kind):
    # Longer than the blocks in which random words are drawn.
    longer = mask_sequence(kind, 3, 150, 96, 192)
    for frames in (1, 10, 32, 33, 64):
        assert np.array_equal(longer[:frames], mask_sequence(kind, 3, frames, 96, 192))


def test_memory_does_not_grow_with_the_number_of_frames():
    def peak(frames):
        tracemalloc.start()
        for _ in mask_frames(MOVING, 1, frames, 96, 192):
            pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(50)
    assert peak(3000) < 1.2 * peak(50)


def test_object_masks_are_refused_by_the_free_form_generator():
    with pytest.raises(AssertionError, match="object masks are not free-form"):
        mask_sequence(OBJECT, 0, 1, 96, 192)


def test_seeds_depend_on_names_only():
    seeds = {
        variant_seed(seed, video, variant)
        for seed in range(3)
        for video in ("a", "b", "a:1")
        for variant in range(4)
    }
    assert len(seeds) == 36
    assert max(seeds) < 2**53
    assert variant_seed(0, "a", 1) == 4790501460367058


def test_mask_kinds_alternate():
    assert variant_kinds(2, 2) == (STATIC, MOVING, STATIC, MOVING)
    assert variant_kinds(3, 1) == (STATIC, MOVING, STATIC, STATIC)
    assert variant_kinds(0, 2) == (MOVING, MOVING)
    assert variant_kinds(2, 1, 3) == (STATIC, MOVING, OBJECT, STATIC, OBJECT, OBJECT)
    assert variant_kinds(0, 0, 1) == (OBJECT,)
    assert variant_kinds(0, 0) == ()
