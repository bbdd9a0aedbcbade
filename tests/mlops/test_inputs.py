import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from data_pipeline.cli.command import UserError
from data_pipeline.read.reader import DataSet
from mlops.evaluation import inputs
from mlops.evaluation.protocol import PROTOCOLS, Protocol

WHOLE = Protocol(name="whole", clips_per_video=0, frames_per_clip=0)


@pytest.fixture(scope="module")
def held_out(data_set):
    return DataSet.open(data_set)


def read(data_set, protocol):
    (clip,) = inputs.fixed_clips(data_set, protocol)
    return inputs.read(data_set, clip, protocol)


def write_masks(folder, video, masks):
    (folder / video).mkdir(parents=True)
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / video / f"{number:05d}.png")


def test_whole_videos_are_one_clip_each(held_out):
    found = read(held_out, WHOLE)
    assert found.clip.frames == tuple(range(12))
    assert (found.variant, found.mask_kind) == (0, held_out.videos("test")[0].mask_kinds[0])
    assert found.frames.shape == (12, 96, 96, 3)


def test_digests_identify_inputs(held_out):
    found, grown = read(held_out, WHOLE), read(held_out, replace(WHOLE, dilation=1))
    assert found.sha256() == read(held_out, WHOLE).sha256() != grown.sha256()


def test_given_holes_are_resized_by_nearest_and_dilated_by_a_diamond(held_out, tmp_path):
    point = np.zeros((48, 48), np.uint8)
    point[20, 30] = 3  # any number but 0
    write_masks(tmp_path, "video-0", [point] * 12)
    found = read(held_out, replace(WHOLE, masks=str(tmp_path)))
    assert (found.variant, found.mask_kind) == (inputs.GIVEN, "given")
    assert np.argwhere(found.masks[5]).tolist() == [[40, 60], [40, 61], [41, 60], [41, 61]]
    grown = read(held_out, replace(WHOLE, masks=str(tmp_path), dilation=4)).masks[5]
    rows, columns = np.nonzero(grown)
    away = np.maximum(np.abs(rows - 40.5) - 0.5, 0) + np.maximum(np.abs(columns - 60.5) - 0.5, 0)
    assert away.max() == 4  # along rows and columns together
    assert grown.sum() == 2 * (10 + 8 + 6 + 4 + 2)  # rows of 10 twice, then 8, 6, 4, 2
    assert set(np.unique(grown)) == {0, 1}


def test_missing_inputs_are_named(held_out, tmp_path):
    write_masks(tmp_path, "video-0", [np.zeros((96, 96), np.uint8)] * 11)
    with pytest.raises(UserError, match=r"no mask .*/video-0/00011.png: --masks wants <video>/0"):
        read(held_out, replace(WHOLE, masks=str(tmp_path)))


def test_the_published_protocol_requires_the_published_size(held_out):
    with pytest.raises(
        UserError, match=r"'published' is for 432x240 pixels, data set .* has 96x96"
    ):
        inputs.fixed_clips(held_out, PROTOCOLS["published"])


def test_palette_masks_are_read_by_colour(held_out, tmp_path):
    """DAVIS stores objects as palette indices, 0 = black = none."""
    image = Image.new("P", (96, 96), 0)
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.putpixel((7, 9), 1)
    data = io.BytesIO()
    image.save(data, "PNG")
    (tmp_path / "video-0").mkdir()
    for number in range(12):
        (tmp_path / "video-0" / f"{number:05d}.png").write_bytes(data.getvalue())
    found = read(held_out, replace(WHOLE, masks=str(tmp_path)))
    assert np.argwhere(found.masks[0]).tolist() == [[9, 7]]
