import numpy as np
import pytest
from PIL import Image

from mlops.media import holes
from mlops.media.holes import Edge, Extent


def test_resizing_loses_no_hole_pixel():
    mask = np.zeros((300, 400), np.uint8)
    mask[151, 207] = 1
    small = holes.shrink(mask, (40, 30))
    assert small.shape == (30, 40)
    assert small[15, 20] == 1
    # Bicubic resizing reaches two pixels of the small frame, so those are hole too, and no more.
    assert np.argwhere(small).min(axis=0).tolist() == [13, 18]
    assert np.argwhere(small).max(axis=0).tolist() == [17, 22]


def test_known_pixels_of_a_resized_frame_contain_no_hole_pixels():
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    mask = np.zeros((90, 120), np.uint8)
    mask[31:58, 44:77] = 1
    other = frame.copy()
    other[mask != 0] = rng.integers(0, 256, (int(mask.sum()), 3), dtype=np.uint8)
    small = [
        np.asarray(Image.fromarray(one).resize((48, 36), Image.Resampling.BICUBIC))
        for one in (frame, other)
    ]
    known = holes.shrink(mask, (48, 36)) == 0
    np.testing.assert_array_equal(small[0][known], small[1][known])
    assert (small[0] != small[1]).any()


def test_at_the_same_size_a_mask_is_binarised():
    mask = np.array([[0, 255], [7, 0]], np.uint8)
    assert holes.shrink(mask, (2, 2)).tolist() == [[0, 1], [1, 0]]


def test_edge_options_invert_dilate_and_feather():
    mask = np.zeros((21, 21), np.uint8)
    mask[10, 10] = 7
    plain = Edge().hole(mask)
    assert (int(plain.mask.sum()), plain.weight) == (1, None)
    assert int(Edge(invert=True).hole(mask).mask.sum()) == 21 * 21 - 1
    grown = Edge(dilate=3).hole(mask).mask
    y, x = np.nonzero(grown)
    assert np.hypot(y - 10, x - 10).max() == 3
    assert grown[10, 7] == grown[7, 10] == 1
    assert grown[7, 7] == 0  # round
    soft = Edge(dilate=3, blend_width=4).hole(mask)
    assert soft.weight[10, 10] == soft.weight[10, 13] == 1
    ramp = soft.weight[10, 13:19]
    np.testing.assert_allclose(ramp, [1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-6)
    assert np.array_equal(soft.mask != 0, soft.weight > 0)
    assert int(Edge(dilate=3).hole(np.zeros_like(mask)).mask.sum()) == 0


def test_the_same_mask_object_is_processed_once():
    mask = np.eye(5, dtype=np.uint8)
    first, second, third = Edge(dilate=1).holes(iter([mask, mask, mask.copy()]))
    assert first is second
    assert first is not third


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ([0.25, 0.25], "hole: 25.0 % of the frame, in 2 of 2 frames"),
        ([0.25, 0, 0.75], "hole: 50.0 % of the frame, in 2 of 3 frames"),
        ([0, 0], "warning: hole: none in 2 frames, nothing was filled: MASK is black all over"),
        ([1, 0.5], "warning: hole: 75.0 % of the frame, in 2 of 2 frames; 1 are hole all over"),
    ],
)
def test_hole_share_is_reported_with_warnings_at_both_extremes(shares, said):
    extent = Extent()
    for share in shares:
        mask = np.zeros((4, 10), np.uint8)
        mask.flat[: round(40 * share)] = 1
        extent.add(mask)
    assert extent.in_words().startswith(said)
