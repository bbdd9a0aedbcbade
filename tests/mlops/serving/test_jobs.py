"""Jobs over HTTP: what is filled, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from mlops.media import video
from tests.mlops.serving.in_process import OneAtATime, running
from tests.mlops.test_video import with_sound
from tests.tiny import write_video

BOX = "20,10,24,16"


@pytest.fixture(scope="module")
def models(black):
    return OneAtATime("", black)


@pytest.fixture(scope="module")
def service(models, tmp_path_factory):
    with running(tmp_path_factory.mktemp("service"), models, max_frames=100, max_pixels=10**5,
                 max_upload_mb=1, max_jobs=3) as (client, one):  # fmt: skip
        yield client, one


@pytest.fixture
def client(service, models):
    yield service[0]
    models.hold.set()
    # Whatever a test did, the service is alive.
    assert service[0]("GET", "/healthz").json() == {"healthy": True}
    assert service[0]("GET", "/readyz").json() == {"model": "starter"}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    return {
        "film": write_video(folder / "film.mp4", frames=12, width=96, height=64),
        "sound": with_sound(folder / "sound.mp4"),
        "long": write_video(folder / "long.mp4", frames=101, width=32, height=32),
        "wide": write_video(folder / "wide.mp4", frames=2, width=640, height=480),
    }


def png(width, height, box):
    image = Image.new("L", (width, height))
    image.paste(255, box)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_a_video_and_a_mask_become_a_filled_video(client, films, tmp_path):
    files = {
        "video": ("../my film.mp4", films["film"].read_bytes()),
        "mask": ("mask.png", png(96, 64, (20, 10, 44, 26))),
    }
    answer = client("POST", "/v1/jobs", files=files, data={"crf": "1"})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    done = client.until(f"/v1/jobs/{job['id']}", "done", "failed")
    assert done["state"] == "done", done["reason"]
    assert (done["frames"], done["frames_done"], done["model"]) == (12, 12, "starter")
    assert done["hole_share"] == 24 * 16 / (96 * 64)
    result = client("GET", done["result"])
    assert (
        result.headers["content-disposition"] == "attachment; filename*=utf-8''my%20film-filled.mp4"
    )
    assert result.headers["x-model-version"] == "starter"
    assert len(result.content) == done["result_bytes"]
    (tmp_path / "out.mp4").write_bytes(result.content)
    frames = np.stack(list(video.read(tmp_path / "out.mp4")))
    assert frames.shape == (12, 64, 96, 3)
    assert frames[:, 12:24, 22:42].max() < 16  # black, but for the codec
    assert frames[:, 30:].mean() > 50
    part = client("GET", done["result"], headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, result.content[100:200])


def test_options_and_sound_are_those_of_the_command(client, films, tmp_path):
    answer = client.submit(films["sound"], boxes=BOX, format="mkv", lossless="true", dilate="4")
    done = client.until(f"/v1/jobs/{answer.json()['id']}", "done", "failed")
    assert done["state"] == "done", done["reason"]
    (tmp_path / "out.mkv").write_bytes(client("GET", done["result"]).content)
    facts = video.facts_of(tmp_path / "out.mkv")
    assert len(facts.audio) == 2
    frame = next(video.read(tmp_path / "out.mkv"))
    assert frame[18, 18].max() == 0  # in the dilated hole, and lossless


@pytest.mark.parametrize(
    ("sent", "mask", "fields", "status", "said"),
    [
        ("long", None, {"boxes": "0,0,9,9"}, 422, "has 101 frames, and this service takes 100"),
        ("wide", None, {"boxes": "0,0,9,9"}, 422, "frames of 640x480, and this service takes"),
        ("film", None, {}, 422, "the mask is given once, as mask, boxes, mask_uri, tracked: there"),
        ("film", None, {"boxes": BOX, "tracked": "true"}, 422, "there are boxes and tracked"),
        ("film", None, {"boxes": "1,2,3"}, 422, "give x,y,width,height"),
        ("film", None, {"boxes": "90,0,10,10"}, 422, "does not lie in the 96x64 pixels of video:"),
        ("film", None, {"boxes": BOX, "dilate": "-1"}, 422, "dilate is -1: give 0 to 1,000"),
        ("film", None, {"boxes": BOX, "dilate": "many"}, 422, "dilate: Input should be a valid"),
        ("film", None, {"boxes": BOX, "crf": "60"}, 422, "crf is 60"),
        ("film", None, {"boxes": BOX, "format": "avi"}, 422, "give one of mp4, mov, mkv, webm"),
        ("film", None, {"boxes": BOX, "dilat": "1"}, 422, "no field 'dilat' is expected (did you"),
        ("film", png(64, 64, (0, 0, 9, 9)), {}, 422, "mask is 64x64, video is 96x64"),
        ("film", b"no picture", {}, 422, "mask cannot be read as a picture"),
        ("film", png(20000, 20000, (0, 0, 9, 9)), {}, 422, "could be decompression bomb"),
        (None, png(96, 64, (0, 0, 9, 9)), {}, 422, "the video is given once"),
        (b"<html>", None, {"boxes": BOX}, 415, "video is not a video"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", None, {"boxes": BOX}, 415, "is not a video"),
        (b"", None, {"boxes": BOX}, 415, "video"),
    ],
)
def test_what_cannot_be_filled_is_refused_at_once(
    client, service, films, sent, mask, fields, status, said
):
    files = {"mask": ("mask.png", mask)} if mask else {}
    if sent is not None:
        data = sent if isinstance(sent, bytes) else films[sent].read_bytes()
        files["video"] = ("film.mp4", data)
    before = sorted(service[1].store.folder.glob("*/*"))
    answer = client("POST", "/v1/jobs", files=files, data=fields)
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert said in problem["detail"]
    assert str(service[1].store.folder) not in problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert sorted(service[1].store.folder.glob("*/*")) == before


def test_a_header_that_lies_about_the_size_of_frames_is_not_believed(client, films, tmp_path):
    # 640x480 stands in the sample description and in the sequence parameters: patch the first.
    data = films["wide"].read_bytes().replace(b"\x02\x80\x01\xe0", b"\x00\x40\x00\x30")
    assert data != films["wide"].read_bytes()
    (tmp_path / "lie.mp4").write_bytes(data)
    answer = client.submit(tmp_path / "lie.mp4", boxes="0,0,9,9")
    assert answer.status_code == 422
    assert "640x480" in answer.json()["detail"]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client):
    answer = client.raw(
        "POST /v1/jobs HTTP/1.1", "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {10**12}", "",
    )  # fmt: skip
    assert answer.startswith("HTTP/1.1 413 ")
    assert "the request is larger than 1 MB, the most that is taken" in answer

    def undeclared():
        yield b"--b\r\nContent-Disposition: form-data; name=video; filename=a\r\n\r\n"
        for _ in range(40):
            yield bytes(2**16)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client("POST", "/v1/jobs", data=undeclared(), headers=headers)
    assert answer.status_code == 413


def test_a_body_that_is_no_whole_form_is_refused(client):
    assert client("POST", "/v1/jobs", json={}).status_code == 415
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    begun = b"--b\r\nContent-Disposition: form-data; name=boxes\r\n\r\n1,2"
    answer = client("POST", "/v1/jobs", data=begun, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (
        400, "the form ends before its last boundary: send all of it",
    )  # fmt: skip
    assert client("POST", "/v1/jobs", data=b"nonsense", headers=headers).status_code == 400


def test_a_full_queue_says_so_and_takes_more_later(client, models, films):
    models.hold.clear()
    ids = [client.submit(films["film"], boxes=BOX).json()["id"] for _ in range(3)]
    answer = client.submit(films["film"], boxes=BOX)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "3 jobs are not finished yet" in answer.json()["detail"]
    text = client("GET", "/metrics").text
    assert 'sttn_jobs{state="queued"} 3.0' in text
    models.hold.set()
    for one in ids:
        client.until(f"/v1/jobs/{one}", "done")
    assert client.submit(films["film"], boxes=BOX).status_code == 202


def test_a_job_is_cancelled_while_it_waits_and_while_it_runs(client, models, films):
    models.hold.clear()
    first = client.submit(films["film"], boxes=BOX).json()["id"]
    second = client.submit(films["film"], boxes=BOX).json()["id"]
    answer = client("DELETE", f"/v1/jobs/{second}")
    assert answer.json()["state"] == "cancelled"
    assert client("GET", f"/v1/jobs/{second}/result").status_code == 409
    assert client("DELETE", f"/v1/jobs/{first}").json()["state"] == "cancelled"
    models.hold.set()
    third = client.submit(films["film"], boxes=BOX).json()["id"]
    assert client.until(f"/v1/jobs/{third}", "done", "failed")["state"] == "done"
    # The second DELETE removes it.
    assert client("DELETE", f"/v1/jobs/{first}").status_code == 200
    answer = client("GET", f"/v1/jobs/{first}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_process_that_ends_is_replaced_and_a_job_that_ends_three_is_given_up(
    client, models, films
):
    models.lose = 2
    job = client.submit(films["film"], boxes=BOX).json()["id"]
    assert client.until(f"/v1/jobs/{job}", "done", "failed")["state"] == "done"
    models.lose = 3
    job = client.submit(films["film"], boxes=BOX).json()["id"]
    failed = client.until(f"/v1/jobs/{job}", "done", "failed")
    assert failed["reason"] == "the process of starter that worked on it ended, 3 times"


def test_ids_are_no_paths(client):
    for path in ("/v1/jobs/..%2f..%2fetc", "/v1/videos/..%2f..", "/v1/videos/%00", "/page/..%2fx"):
        assert client("GET", path).status_code == 404
