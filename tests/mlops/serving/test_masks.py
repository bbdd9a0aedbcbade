"""Masks over HTTP: frames to look at, a mask from a box, tracked, corrected, filled."""

import io
import time

import av
import numpy as np
import pytest
from PIL import Image

from mlops.media import video
from tests.mlops.serving.in_process import running
from tests.tiny import write_video


def png(mask, mode="L"):
    out = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).convert(mode).save(out, "PNG")
    return out.getvalue()


def picture(answer):
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def alpha(answer):
    return np.asarray(picture(answer).convert("RGBA"))[..., 3] > 127


@pytest.fixture
def client(models, tmp_path):
    with running(tmp_path / "s", models) as (client, _):
        yield client
        assert client("GET", "/healthz").status_code == 200


def disc(x, y):
    rows, columns = np.mgrid[:120, :160]
    return (columns - x) ** 2 + (rows - y) ** 2 < 15**2


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """A green disc that moves over noise."""
    path = tmp_path_factory.mktemp("moving") / "moving.mp4"
    noise = np.random.default_rng(0).integers(60, 120, (30, 40, 3)).astype(np.uint8)
    ground = np.asarray(Image.fromarray(noise).resize((160, 120)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(10):
            frame = ground.copy()
            frame[disc(40 + 4 * number, 60)] = (20, 220, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def jaccard(one, other):
    return (one & other).sum() / (one | other).sum()


def test_a_box_becomes_a_mask_is_tracked_corrected_and_filled(client, moving, tmp_path):
    place = f"/v1/videos/{client.upload(moving)}"
    about = client("GET", place).json()
    assert (about["width"], about["height"], about["frames"]) == (160, 120, 10)
    frame = picture(client("GET", f"{place}/frames/3"))
    assert frame.size == (160, 120)
    assert np.asarray(frame)[60, 52, 1] > 180
    marks = {"frame": 0, "box": [26.4, 46, 55, 75]}
    found = client("POST", f"{place}/selection", json=marks)
    assert jaccard(alpha(found), disc(40, 60)) > 0.8
    assert client("GET", f"{place}/masks/0").status_code == 404
    assert client("PUT", f"{place}/anchors/0", data=found.content).status_code == 204
    assert client("POST", f"{place}/tracking", json={}).status_code == 202
    done = client.until(f"{place}/tracking", "done", "failed")
    assert (done["state"], done["frames_done"], done["frames"]) == ("done", 10, 10), done
    for number in range(10):
        tracked = alpha(client("GET", f"{place}/masks/{number}"))
        # How well it follows is for tests of `masking`.
        assert jaccard(tracked, disc(40 + 4 * number, 60)) > 0.6
    # Corrected on one frame: that frame is exactly what was sent.
    other = disc(100, 30)
    client("PUT", f"{place}/anchors/9", data=png(other))
    assert client("GET", f"{place}/anchors").json() == [0, 9]
    client("POST", f"{place}/tracking", json={"still": False})
    assert client.until(f"{place}/tracking", "done", "failed")["state"] == "done"
    assert (alpha(client("GET", f"{place}/masks/9")) == other).all()
    assert client("DELETE", f"{place}/anchors/9").status_code == 204
    client("POST", f"{place}/tracking", json={})
    client.until(f"{place}/tracking", "done")
    fields = {"video_id": (None, about["id"]), "tracked": (None, "true"), "dilate": (None, "3")}
    job = client("POST", "/v1/jobs", files=fields).json()
    filled = client.until(f"/v1/jobs/{job['id']}", "done", "failed")
    assert filled["state"] == "done", filled["reason"]
    (tmp_path / "out.mp4").write_bytes(client("GET", filled["result"]).content)
    frames = list(video.read(tmp_path / "out.mp4"))
    assert frames[7][60, 68].max() < 30  # filled black where the disc was
    shown = np.asarray(picture(client("GET", f"/v1/jobs/{job['id']}/frames/7")))
    assert shown[60, 68].max() < 40
    assert client("GET", f"/v1/jobs/{job['id']}/frames/10").status_code == 404


def test_clicks_become_a_mask_and_a_thing_that_stands_still_is_not_tracked(client, moving):
    place = f"/v1/videos/{client.upload(moving)}"
    points = [[40, 60, True], [45, 62, True], [90, 60, False]]
    found = alpha(client("POST", f"{place}/selection", json={"frame": 0, "points": points}))
    assert found[60, 40]
    assert not found[60, 90]
    logo, later = disc(20, 20), disc(120, 20)
    client("PUT", f"{place}/anchors/2", data=png(logo, "RGBA"))
    client("PUT", f"{place}/anchors/6", data=png(later))
    client("POST", f"{place}/tracking", json={"still": True})
    assert client.until(f"{place}/tracking", "done", "failed")["state"] == "done"
    for number, wanted in ((0, logo), (5, logo), (6, later), (9, later)):
        assert (alpha(client("GET", f"{place}/masks/{number}")) == wanted).all()


def test_large_frames_are_shown_small_and_masks_are_as_large_as_the_video(client, tmp_path):
    film = write_video(tmp_path / "wide.mp4", frames=3, width=1280, height=320)
    place = f"/v1/videos/{client.upload(film)}"
    assert picture(client("GET", f"{place}/frames/2")).size == (960, 240)
    small = np.zeros((240, 960), bool)
    small[60:180, 300:600] = True
    client("PUT", f"{place}/anchors/1", data=png(small))
    assert picture(client("GET", f"{place}/masks/1")).size == (1280, 320)
    client("POST", f"{place}/tracking", json={})
    assert client.until(f"{place}/tracking", "done", "failed")["state"] == "done"
    for number in range(3):
        mask = alpha(client("GET", f"{place}/masks/{number}"))
        assert mask.shape == (320, 1280)
        assert mask[160, 600]
        assert not mask[10, 10]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("GET", "/frames/10", None, 404, "there is no frame 10: there are 10"),
        ("GET", "/frames/-1", None, 404, "there is no frame -1"),
        ("GET", "/frames/x", None, 422, "number: Input should be a valid integer"),
        ("POST", "/selection", {"frame": 0}, 422, "give either a box or points"),
        ("POST", "/selection", {"frame": 0, "box": [1, 2, 3]}, 422, "box.3: Field required"),
        ("POST", "/selection", {"frame": 0, "box": [5, 5, 5, 5]}, 422, "does not lie in"),
        ("POST", "/selection", {"frame": 99, "box": [1, 1, 9, 9]}, 404, "no frame 99"),
        ("POST", "/selection", {"frame": 0, "points": [[1, 1, True]] * 201}, 422, "at most 200"),
        ("POST", "/selection", {"frame": 0, "dots": []}, 422, "dots: Extra inputs"),
        ("PUT", "/anchors/0", b"no picture", 422, "the mask is no PNG"),
        ("PUT", "/anchors/99", b"", 404, "there is no frame 99"),
        ("PUT", "/anchors/0", bytes(17 * 10**6), 413, "larger than 16 MB"),
        ("GET", "/masks/0", None, 404, "frame 0 has no mask yet"),
    ],
)
def test_what_cannot_be_done_is_said(client, moving, method, path, body, status, said):
    place = f"/v1/videos/{client.upload(moving)}"
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    answer = client(method, place + path, **(sent if body is not None else {}))
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


def test_tracking_without_a_mask_fails_with_its_reason_and_can_be_begun_again(client, moving):
    video_id = client.upload(moving)
    place = f"/v1/videos/{video_id}"
    assert client("GET", f"{place}/tracking").json()["state"] == "none"
    client("POST", f"{place}/tracking", json={})
    failed = client.until(f"{place}/tracking", "done", "failed")
    assert failed["reason"] == "no frame has a mask yet: mark what should go on one of them"
    fields = {"video_id": (None, video_id), "tracked": (None, "true")}
    assert client("POST", "/v1/jobs", files=fields).status_code == 409
    client("PUT", f"{place}/anchors/0", data=png(disc(40, 60)))
    client("POST", f"{place}/tracking", json={})
    assert client("DELETE", f"{place}/tracking").status_code == 204
    assert client("GET", f"{place}/tracking").json()["state"] == "none"
    client("POST", f"{place}/tracking", json={})
    assert client.until(f"{place}/tracking", "done", "failed")["state"] == "done"


def test_a_damaged_video_says_where(client, moving, tmp_path):
    data = bytearray(moving.read_bytes())
    middle = len(data) * 3 // 4
    data[middle : middle + 300] = bytes(300)
    (tmp_path / "damaged.mp4").write_bytes(data)
    place = f"/v1/videos/{client.upload(tmp_path / 'damaged.mp4')}"
    began = time.monotonic()
    answer = client("GET", f"{place}/frames/9")
    assert answer.status_code == 422, answer.text
    assert "damaged" in answer.json()["detail"]
    assert time.monotonic() - began < 20
