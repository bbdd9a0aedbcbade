import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_pipeline.cli.command import UserError
from mlops.media import video
from mlops.media.encoding import Encoding, VideoWriter
from mlops.media.mask_reading import masks_for
from mlops.media.video import Timed
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
    masks = masks_for("10,5,4,2", facts)
    mask = next(masks.each)
    assert masks.same
    assert sorted(zip(*np.nonzero(mask), strict=True)) == list(
        itertools.product((5, 6), (10, 11, 12, 13))
    )


@pytest.mark.parametrize("box", ["37,0,4,4", "0,0,41,1", "-1,0,4,4", "0,0,0,4", "0,28,4,4"])
def test_a_box_outside_of_the_video_is_refused(facts, box):
    with pytest.raises(UserError, match="does not lie in the 40x30 pixels"):
        masks_for(box, facts)


@pytest.mark.parametrize(("suffix", "mode"), [("png", "L"), ("png", "RGB"), ("png", "1")])
def test_one_picture_masks_every_frame(facts, tmp_path, suffix, mode):
    masks = masks_for(_picture(tmp_path / f"mask.{suffix}", _square(), mode), facts)
    assert masks.same
    np.testing.assert_array_equal(next(masks.each), _square())


def test_jpeg_noise_is_not_a_hole(facts, tmp_path):
    path = _picture(tmp_path / "mask.jpg", _square())
    with Image.open(path) as image:
        assert len(np.unique(np.asarray(image))) > 2  # there is noise
    np.testing.assert_array_equal(next(masks_for(path, facts).each), _square())


def test_a_folder_has_one_mask_a_frame_in_order_of_names(facts, tmp_path):
    for i in range(3):
        _picture(tmp_path / f"{i:05d}.png", _square(top=i))
    masks = masks_for(str(tmp_path), facts)
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
    masks = list(masks_for(str(tmp_path / "mask.mp4"), facts).each)
    assert len(masks) == 3
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, _square(top=2 * i))


def test_a_wrong_number_of_masks_is_refused_with_both_numbers(facts, tmp_path):
    for i in range(2):
        _picture(tmp_path / f"{i}.png", _square())
    with pytest.raises(UserError, match=r"has 2 frames, video .* has 3"):
        masks_for(str(tmp_path), facts)
    longer = write_video(tmp_path / "longer.mp4", frames=5, width=40, height=30)
    with pytest.raises(UserError, match=r"has 5 frames, video .* has 3"):
        masks_for(str(longer), facts)


def test_a_wrong_mask_size_is_refused_with_both_sizes(facts, tmp_path):
    path = _picture(tmp_path / "mask.png", np.ones((20, 40)))
    with pytest.raises(UserError, match=r"is 40x20, video .* is 40x30"):
        masks_for(path, facts)


def test_unreadable_masks_are_refused(facts, tmp_path):
    (tmp_path / "mask.png").write_text("not a picture")
    with pytest.raises(UserError, match="cannot be read as a picture"):
        masks_for(str(tmp_path / "mask.png"), facts)
    with pytest.raises(UserError, match="give a picture, a folder, a video, or boxes x,y,wid"):
        masks_for("1,2,3", facts)


@pytest.mark.parametrize("rate", [30, 12, Fraction(24000, 1001)])
def test_a_mask_video_of_another_rate_fits_frame_by_frame(facts, tmp_path, rate):
    write_masks(tmp_path / "mask.mp4", replace(facts, fps=Fraction(rate), time_base=None))
    masks = list(masks_for(str(tmp_path / "mask.mp4"), facts).each)
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(mask, _square(top=2 * i))


def _saved(path, mode, *, value=255):
    """A mask of the square in any mode, outside of it black or transparent."""
    square = _square()
    if mode in ("LA", "RGBA"):
        # White all over: only alpha says what is painted.
        image = Image.fromarray(np.full((30, 40, 3), 255, np.uint8)).convert(mode)
        image.putalpha(Image.fromarray(square * np.uint8(value)))
    elif mode == "opaque RGBA":
        image = Image.fromarray(square * np.uint8(value)).convert("RGBA")
    elif mode == "transparent P":
        image = Image.fromarray(1 - square, mode="P")
        image.putpalette([255, 0, 0, 0, 255, 0])  # green, which is 1, is transparent
        image.info["transparency"] = 1
    elif mode == "P":
        image = Image.fromarray(square * np.uint8(2), mode="P")
        image.putpalette([0, 0, 0, 9, 9, 9, value, 0, 0])
    elif mode == "I;16":
        image = Image.fromarray(square.astype(np.uint16))  # 1 of 65535
    elif mode == "F":
        image = Image.fromarray(square.astype(np.float32) * (value / 255))
    else:
        image = Image.fromarray(square * np.uint8(value)).convert(mode)
    image.save(path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "mode", "value"),
    [
        ("grey-alpha.png", "LA", 255),
        ("rgba.png", "RGBA", 255),
        ("faint.png", "RGBA", 1),
        ("opaque.png", "opaque RGBA", 255),
        ("palette.png", "P", 128),
        ("palette.gif", "P", 200),
        ("see-through.png", "transparent P", 0),
        ("see-through.gif", "transparent P", 0),
        ("one.png", "L", 1),
        ("sixteen.png", "I;16", 0),
        ("sixteen.tif", "I;16", 0),
        ("float.tif", "F", 255),
        ("rgba.webp", "RGBA", 255),
        ("jpeg.tif", "L", 255),
    ],
)
def test_a_pixel_is_hole_where_the_mask_shown_on_black_is_not_black(
    facts, tmp_path, name, mode, value
):
    path = tmp_path / name
    if path.suffix == ".webp":
        _saved(tmp_path / "still.png", mode, value=value)
        Image.open(tmp_path / "still.png").save(path, lossless=True, exact=True)
    elif name == "jpeg.tif":
        Image.fromarray(_square() * np.uint8(value)).save(path, compression="jpeg")
    else:
        _saved(path, mode, value=value)
    masks = masks_for(str(path), facts)
    assert masks.same
    np.testing.assert_array_equal(next(masks.each), _square())


def test_lossy_webp_noise_is_not_a_hole(facts, tmp_path):
    path = tmp_path / "mask.webp"
    Image.fromarray(_square() * np.uint8(255)).convert("RGB").save(path, quality=60)
    with Image.open(path) as image:
        assert len(np.unique(np.asarray(image))) > 2
    np.testing.assert_array_equal(next(masks_for(str(path), facts).each), _square())


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_is_one_mask_a_frame(facts, tmp_path, suffix):
    path = tmp_path / f"mask.{suffix}"
    still = [Image.fromarray(_square(top=i) * np.uint8(255)).convert("L") for i in range(3)]
    more = {"lossless": True} if suffix == "webp" else {}
    still[0].save(path, save_all=True, append_images=still[1:], duration=40, **more)
    masks = masks_for(str(path), facts)
    assert not masks.same
    for i, mask in enumerate(masks.each):
        np.testing.assert_array_equal(mask, _square(top=i))
    still[0].save(path, save_all=True, append_images=still[1:2], duration=40, **more)
    with pytest.raises(UserError, match=r"has 2 frames, video .* has 3"):
        masks_for(str(path), facts)


def test_a_picture_is_rotated_by_its_exif(facts, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown by a quarter turn clockwise
    stored = np.rot90(_square() * np.uint8(255), 1)
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "mask.png", exif=exif)
    np.testing.assert_array_equal(
        next(masks_for(str(tmp_path / "mask.png"), facts).each), _square()
    )


@pytest.mark.parametrize("value", [60, 100, 255])
def test_a_dim_mask_video_is_a_mask(facts, tmp_path, value):
    path = tmp_path / "mask.mkv"
    with VideoWriter(path, facts, Encoding(crf=1)) as still:
        for _ in range(3):
            still.write(Timed(np.repeat(_square()[..., None] * np.uint8(value), 3, axis=2), None))
    for mask in masks_for(str(path), facts).each:
        np.testing.assert_array_equal(mask, _square())
    none = masks_for(str(path), facts, threshold=value + 10)
    assert not any(mask.any() for mask in none.each)


def test_a_given_threshold_is_used(facts, tmp_path):
    path = _saved(tmp_path / "mask.png", "L", value=40)
    assert next(masks_for(path, facts).each).any()
    assert next(masks_for(path, facts, threshold=39).each).any()
    assert not next(masks_for(path, facts, threshold=40).each).any()


def test_several_boxes_apply_to_their_frame_ranges(facts):
    masks = masks_for("0,0,2,2;10,10,3,3@1-2;20,20,4,4@2-2", facts)
    areas = [int(mask.sum()) for mask in itertools.islice(masks.each, 3)]
    assert areas == [4, 4 + 9, 4 + 9 + 16]
    with pytest.raises(UserError, match=r"frames 1 to 3 are not in .* which has frames 0 to 2"):
        masks_for("0,0,2,2@1-3", facts)
    with pytest.raises(UserError, match="frames 2 to 1 are not in"):
        masks_for("0,0,2,2@2-1", facts)
