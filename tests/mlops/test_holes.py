import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.door import UserError
from mlops import holes, video
from mlops.encoding import Encoding, VideoWriter
from mlops.holes import Edge
from mlops.video import Timed
from tests.tiny import write_video


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    return video.facts_of(write_video(path, frames=3, width=40, height=30, fps=Fraction(25)))


def _picture(path: Path, mask, mode="L"):
    Image.fromarray((np.asarray(mask) * 255).astype(np.uint8)).convert(mode).save(path)
    return str(path)


def _square(top=5, height=30, width=40):
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + 8, 10:20] = 1
    return mask


def test_a_box_is_x_y_width_height(facts):
    masks = holes.masks_for("10,5,4,2", facts)
    mask = next(masks.each)
    assert masks.same
    assert sorted(zip(*np.nonzero(mask), strict=True)) == list(
        itertools.product((5, 6), (10, 11, 12, 13))
    )


@pytest.mark.parametrize("box", ["37,0,4,4", "0,0,41,1", "-1,0,4,4", "0,0,0,4", "0,28,4,4"])
def test_a_box_outside_of_the_video_is_refused(facts, box):
    with pytest.raises(UserError, match="does not lie in the 40x30 pixels"):
        holes.masks_for(box, facts)


@pytest.mark.parametrize(("suffix", "mode"), [("png", "L"), ("png", "RGB"), ("png", "1")])
def test_a_picture_holds_for_every_frame(facts, tmp_path, suffix, mode):
    masks = holes.masks_for(_picture(tmp_path / f"mask.{suffix}", _square(), mode), facts)
    assert masks.same
    np.testing.assert_array_equal(next(masks.each), _square())


def test_noise_of_a_jpeg_is_no_hole(facts, tmp_path):
    path = _picture(tmp_path / "mask.jpg", _square())
    with Image.open(path) as image:
        assert len(np.unique(np.asarray(image))) > 2  # there is noise
    np.testing.assert_array_equal(next(holes.masks_for(path, facts).each), _square())


def test_a_folder_has_one_mask_a_frame_in_order_of_names(facts, tmp_path):
    for i in range(3):
        _picture(tmp_path / f"{i:05d}.png", _square(top=i))
    masks = holes.masks_for(str(tmp_path), facts)
    assert not masks.same
    for i, mask in enumerate(masks.each):
        np.testing.assert_array_equal(mask, _square(top=i))


def write_masks(path, facts):
    with VideoWriter(path, facts, Encoding(crf=0)) as still:
        for i in range(3):
            mask = np.repeat(_square(top=2 * i)[..., None] * np.uint8(255), 3, axis=2)
            still.write(Timed(mask, None))


def test_a_mask_video_has_one_mask_a_frame(facts, tmp_path):
    write_masks(tmp_path / "mask.mp4", facts)
    masks = list(holes.masks_for(str(tmp_path / "mask.mp4"), facts).each)
    assert len(masks) == 3
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, _square(top=2 * i))


def test_another_number_of_masks_is_said_with_both_numbers(facts, tmp_path):
    for i in range(2):
        _picture(tmp_path / f"{i}.png", _square())
    with pytest.raises(UserError, match=r"has 2 frames, video .* has 3"):
        holes.masks_for(str(tmp_path), facts)
    longer = write_video(tmp_path / "longer.mp4", frames=5, width=40, height=30)
    with pytest.raises(UserError, match=r"has 5 frames, video .* has 3"):
        holes.masks_for(str(longer), facts)


def test_another_size_of_mask_is_said_with_both_sizes(facts, tmp_path):
    path = _picture(tmp_path / "mask.png", np.ones((20, 40)))
    with pytest.raises(UserError, match=r"is 40x20, video .* is 40x30"):
        holes.masks_for(path, facts)


def test_what_is_no_mask_is_said(facts, tmp_path):
    (tmp_path / "mask.png").write_text("not a picture")
    with pytest.raises(UserError, match="cannot be read as a picture"):
        holes.masks_for(str(tmp_path / "mask.png"), facts)
    with pytest.raises(UserError, match="give a picture, a folder, a video, or boxes x,y,wid"):
        holes.masks_for("1,2,3", facts)


def test_no_hole_pixel_is_lost_at_another_size():
    mask = np.zeros((300, 400), np.uint8)
    mask[151, 207] = 1
    small = holes.shrink(mask, (40, 30))
    assert small.shape == (30, 40)
    assert small[15, 20] == 1
    # Bicubic resizing reaches two pixels of the small frame, so those are hole too, and no more.
    assert np.argwhere(small).min(axis=0).tolist() == [13, 18]
    assert np.argwhere(small).max(axis=0).tolist() == [17, 22]


def test_known_pixels_of_the_small_frame_never_saw_the_inside_of_the_hole():
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


def test_at_the_same_size_a_mask_becomes_zero_and_one():
    mask = np.array([[0, 255], [7, 0]], np.uint8)
    assert holes.shrink(mask, (2, 2)).tolist() == [[0, 1], [1, 0]]


def test_a_mask_video_of_another_rate_is_said_with_both_rates(facts, tmp_path):
    write_masks(tmp_path / "mask.mp4", replace(facts, fps=Fraction(30), time_base=None))
    with pytest.raises(UserError, match=r"has 30 fps, video .* has 25: give one mask for each"):
        holes.masks_for(str(tmp_path / "mask.mp4"), facts)


def test_several_boxes_each_for_its_frames(facts):
    masks = holes.masks_for("0,0,2,2;10,10,3,3@1-2;20,20,4,4@2-2", facts)
    areas = [int(mask.sum()) for mask in itertools.islice(masks.each, 3)]
    assert areas == [4, 4 + 9, 4 + 9 + 16]
    with pytest.raises(UserError, match=r"frames 1 to 3 are not in .* which has frames 0 to 2"):
        holes.masks_for("0,0,2,2@1-3", facts)
    with pytest.raises(UserError, match="frames 2 to 1 are not in"):
        holes.masks_for("0,0,2,2@2-1", facts)


def test_edges_invert_grow_and_soften():
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
    soft = Edge(dilate=3, feather=4).hole(mask)
    assert soft.weight[10, 10] == soft.weight[10, 13] == 1
    ramp = soft.weight[10, 13:19]
    np.testing.assert_allclose(ramp, [1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-6)
    assert np.array_equal(soft.mask != 0, soft.weight > 0)
    assert int(Edge(dilate=3).hole(np.zeros_like(mask)).mask.sum()) == 0


def test_what_stays_the_same_is_worked_out_once():
    mask = np.eye(5, dtype=np.uint8)
    first, second, third = Edge(dilate=1).holes(iter([mask, mask, mask.copy()]))
    assert first is second
    assert first is not third
