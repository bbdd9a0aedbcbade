"""Videos that a drawn camera makes from photographs."""

import itertools
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_pipeline.build.build import build
from data_pipeline.cli.command import UserError
from data_pipeline.config import ShardConfig
from data_pipeline.inspection.verify import verify
from data_pipeline.sources import camera
from data_pipeline.sources.find import find_videos
from data_pipeline.storage import lake
from tests.data_pipeline.sources.limits import bad, read
from tests.layouts import encoded, picture

SIZE = WIDTH, HEIGHT = 64, 48
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def folder(tmp_path):
    """Four photographs, one in a folder of its own, and a file that is none."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        place = root / "more" if name == "d" else root
        data = encoded(picture(width=160, height=120, seed=number))
        (place / f"{name}.jpg").write_bytes(data)
    (root / "COPYING").write_text("CC BY-SA")
    (root / "._a.jpg").write_bytes(b"left by a system")
    return root


def config(*inputs, **flags):
    given = {"width": WIDTH, "height": HEIGHT, "photo_videos": 2, "photo_frames": 6} | flags
    return ShardConfig(
        input=tuple(map(str, inputs)), output=str(given.pop("output", "/out")), source="photos",
        static=1, moving=1, objects=0, **given,
    )  # fmt: skip


def find(*inputs, **flags):
    return find_videos(config(*inputs, **flags))


def refusal(*inputs, **flags):
    with pytest.raises(UserError) as caught:
        find(*inputs, **flags)
    return str(caught.value)


def test_each_photograph_gives_videos_and_what_is_no_photograph_none(folder):
    found = find(folder)
    assert [one.id for one in found] == [
        "a-0", "a-1", "b-0", "b-1", "c-0", "c-1", "more_d-0", "more_d-1",
    ]  # fmt: skip
    assert {(one.split, one.frames, one.kind) for one in found} == {("train", 6, "photo")}
    assert [one.id for one in find(folder / "a.jpg", photo_videos=1)] == ["a-0"]


def test_on_s3(folder, s3):
    for name in NAMES[:3]:
        data = (folder / f"{name}.jpg").read_bytes()
        lake.write_bytes(f"{s3}/photos/{name}.jpg", data)
    found = find(f"{s3}/photos")
    assert [one.id for one in found] == ["a-0", "a-1", "b-0", "b-1", "c-0", "c-1"]
    assert len(read(found[0], *SIZE)) == 6


def test_an_input_without_photographs_is_refused(tmp_path, folder):
    assert "is not there" in refusal(folder / "e.jpg")
    (tmp_path / "empty").mkdir()
    assert "holds no picture: give a folder with .jpg" in refusal(tmp_path / "empty")
    (tmp_path / "empty" / "film.mp4").write_bytes(b"1")
    assert "holds no picture but film.mp4" in refusal(tmp_path / "empty")
    assert "no video would be taken" in refusal(folder, photo_frames=4)
    assert "--fit is for footage" in refusal(folder, fit="crop")


def test_videos_of_one_photograph_stay_in_one_split_and_layers_come_from_there(folder):
    for flags in ({"held_out": ("b", "c")}, {"test_share": 0.5}):
        found = find(folder, photo_videos=3, **flags)
        splits = {
            one.photo.id: {v.split for v in found if v.photo.id == one.photo.id} for one in found
        }
        assert all(len(which) == 1 for which in splits.values())
        assert {"train", "test"} == set().union(*splits.values())
        for one in found:
            same = {v.uri for v in found if v.split == one.split} - {one.uri}
            assert set(one.photo.others) <= same
            assert len(one.photo.others) == min(len(same), camera.MAX_LAYERS)
    single = find(folder, held_out=("a-1",))
    assert [one.id for one in single if one.split == "test"] == ["a-1"]


def test_a_video_depends_on_its_seed_and_photographs_alone(folder):
    first = {one.id: read(one, *SIZE) for one in find(folder)}
    again = {one.id: read(one, *SIZE) for one in find(folder, photo_videos=3)}
    assert all(again[name] == frames for name, frames in first.items())
    assert len({frames[0] for frames in again.values()}) == len(again)
    other = {one.id: read(one, *SIZE) for one in find(folder, seed=1)}
    assert all(other[name] != frames for name, frames in first.items())


def places(seed, frames=24, length=400):
    """A film of a picture whose colours are places: where its pixels come from, [T,H,W,2]."""
    y, x = np.mgrid[:length, :length] * (255 / length)
    image = Image.fromarray(np.stack([x, y, 0 * x + 255], axis=-1).astype(np.uint8))
    return np.stack(list(camera.film([image], SIZE, frames, seed, "v"))).astype(float)


@pytest.mark.parametrize("seed", range(12))
def test_the_camera_moves_smoothly_and_never_leaves_the_photograph(seed):
    film = places(seed)
    # Blue is 255 in the photograph and 0 outside of it; 25 is what noise and flicker take at most.
    assert film[..., 2].min() > 225
    middles = film[:, HEIGHT // 2 - 2 : HEIGHT // 2 + 2, WIDTH // 2 - 2 : WIDTH // 2 + 2, :2]
    steps = np.diff(middles.mean(axis=(1, 2)), axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() < 6


def test_cameras_stand_still_pan_zoom_and_turn():
    kinds = set()
    for seed in range(40):
        film = places(seed)[..., :2]
        first, last = film[0], film[-1]
        # x of the photograph along a row and a column of the frame: its scale and its turn.
        across = [
            (one[24, 56, 0] - one[24, 8, 0], one[40, 32, 0] - one[8, 32, 0])
            for one in (first, last)
        ]
        (a, b), (c, d) = across
        moved = np.abs(last[24, 32] - first[24, 32]).max() / max(abs(a), 1) * 48
        kinds |= {"pans"} if moved > 5 else {"stays"} if moved < 1 else set()
        kinds |= {"zooms"} if abs(math.hypot(c, d) / math.hypot(a, b) - 1) > 0.03 else set()
        kinds |= {"turns"} if abs(math.atan2(d, c) - math.atan2(b, a)) > 0.02 else set()
    assert kinds == {"pans", "stays", "zooms", "turns"}


def test_layers_hide_the_photograph_and_show_it_again():
    """Red before blue: what a layer hides in one frame is seen in others."""
    blue, red = (Image.new("RGB", (300, 300), colour) for colour in ((0, 0, 250), (250, 0, 0)))
    hidden, whole = 0, 0
    for seed in range(20):
        film = np.stack(list(camera.film([blue, red], SIZE, 24, seed, "v")))
        covered = film[..., 0] > 125
        seen_again = covered.any(axis=0) & ~covered.all(axis=0)
        hidden += covered.any()
        whole += seen_again.sum() > 20
        edges = (film[..., 0] > 60) & (film[..., 2] > 60)
        assert edges.mean() < 0.15  # nothing of the inside of a layer is seen through
    assert 5 < hidden < 20
    assert whole >= 5


def test_what_is_painted_on_an_object_moves_with_it():
    """A layer cut from a picture of places shows the same places wherever it is."""
    grey = Image.new("RGB", (300, 300), (0, 0, 0))
    y, x = np.mgrid[:400, :400] * (155 / 400) + 100
    painted = Image.fromarray(np.stack([x, y, 0 * x + 255], axis=-1).astype(np.uint8))
    shown = 0
    for seed in range(20):
        film = np.stack(list(camera.film([grey, painted], SIZE, 8, seed, "v"))).astype(float)
        inside = film[..., 2] > 240
        if not all(frame.sum() > 60 for frame in inside):
            continue
        shown += 1
        for frame, where in itertools.pairwise(zip(film, inside, strict=True)):
            spread = [f[w][:, :2].std(axis=0) for f, w in (frame, where)]
            assert np.allclose(*spread, atol=6)
    assert shown >= 3


def test_photographs_that_cannot_be_used(folder):
    (folder / "a.jpg").write_bytes(encoded(picture(width=40, height=30)))
    (folder / "b.jpg").write_bytes((folder / "c.jpg").read_bytes()[:900])
    found = {one.id: one for one in find(folder, photo_videos=1)}
    assert bad(found["a-0"], width=WIDTH, height=HEIGHT).reason == (
        "has a photograph that is smaller than a frame"
    )
    assert bad(found["b-0"], width=WIDTH, height=HEIGHT).reason == (
        "has a picture that cannot be decoded"
    )
    assert {"a.jpg", "b.jpg"} & {uri.rpartition("/")[2] for uri in found["c-0"].photo.others}
    assert len(read(found["c-0"], *SIZE)) == 6  # without the layers that cannot be cut


def test_a_data_set_of_photographs_with_one_and_two_workers(folder, tmp_path, ray_for_all):  # noqa: ARG001
    (folder / "e.png").write_bytes(b"\x89PNG that ends here")
    flags = {"held_out": ("more_d",), "max_rejected": 0.5, "shard_megabytes": 1}
    one, two = (
        build(config(folder, output=tmp_path / name, workers=workers, **flags))
        for name, workers in (("one", 1), ("two", 2))
    )
    assert one.digest == two.digest
    assert verify(one.uri).differences == ()
    rows = pq.read_table(f"{one.uri}/catalogue.parquet").to_pylist()
    reasons = {row["id"]: row["reason"] for row in rows if row["reason"]}
    assert reasons == dict.fromkeys(("e-0", "e-1"), "has a picture that cannot be decoded")
