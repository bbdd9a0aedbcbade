"""What outlives the service, what goes when its time is over, and what a bad disk does."""

import errno
import json
import os
import shutil
import socket
import subprocess
import time

import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.storage import disk
from mlops.serving import uploads
from mlops.serving.store import Store
from tests.mlops.serving.in_process import OneAtATime, running

BOX = "20,10,24,16"


def test_jobs_go_on_when_the_service_is_started_again(models, black, film, tmp_path):
    models.hold.clear()
    with running(tmp_path / "s", models) as (client, _):
        waiting = [client.submit(film, boxes=BOX).json()["id"] for _ in range(2)]
        models.hold.set()
        client.until(f"/v1/jobs/{waiting[0]}", "done")
        models.hold.clear()
        running_one = client.submit(film, boxes=BOX).json()["id"]
        first = client("GET", f"/v1/jobs/{waiting[0]}").json()
    # As a process that was killed in the middle of a video leaves it.
    record = tmp_path / "s" / "jobs" / running_one / "job.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "running"}))
    with running(tmp_path / "s", OneAtATime("", black)) as (client, _):
        for one in (*waiting, running_one):
            done = client.until(f"/v1/jobs/{one}", "done", "failed")
            assert (done["state"], done["frames_done"]) == ("done", 12), done["reason"]
            assert len(client("GET", done["result"]).content) == done["result_bytes"]
        assert client("GET", f"/v1/jobs/{waiting[0]}").json() == first


def test_a_folder_belongs_to_one_service(tmp_path):
    first = Store(tmp_path, 60)
    with pytest.raises(UserError, match="is used by another service: give another one"):
        Store(tmp_path, 60)
    first.close()
    Store(tmp_path, 60).close()


def test_what_is_old_goes_and_what_is_used_stays(models, film, tmp_path):
    with running(tmp_path, models, keep_hours=1) as (client, service):
        done = client.submit(film, boxes=BOX).json()
        expires = client.until(f"/v1/jobs/{done['id']}", "done")["expires"]
        assert 3590 < expires - time.time() <= 3600
        models.hold.clear()
        waiting = client.submit(film, boxes=BOX).json()
        unused = client.upload(film)
        begun = tmp_path / "videos" / ("0" * 32)
        begun.mkdir()
        for folder in (tmp_path / "videos").iterdir():
            for file in (*folder.glob("video.json"), folder):
                os.utime(file, (time.time() - 3700,) * 2)
        service.jobs.remove_old()
        assert client("GET", f"/v1/videos/{unused}").status_code == 404
        assert not begun.exists()
        assert client("GET", f"/v1/jobs/{done['id']}").status_code == 200
        assert client("GET", f"/v1/videos/{waiting['video']}").status_code == 200
        service.jobs.get(done["id"]).finished -= 3700
        service.jobs.remove_old()
        assert client("GET", f"/v1/jobs/{done['id']}").status_code == 404
        assert sorted((tmp_path / "jobs").iterdir()) == [tmp_path / "jobs" / waiting["id"]]
        models.hold.set()
        assert client.until(f"/v1/jobs/{waiting['id']}", "done", "failed")["state"] == "done"


def test_a_disk_without_room_refuses_before_the_body_is_read(models, film, tmp_path, monkeypatch):
    with running(tmp_path, models) as (client, _):
        free = shutil.disk_usage(tmp_path)._replace(free=2**26 + 100)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
        assert client.submit(film, boxes=BOX).status_code == 507
        assert client("POST", "/v1/videos", files={"video": film.read_bytes()}).status_code == 507
        assert client("GET", "/readyz").status_code == 200
        monkeypatch.setattr(shutil, "disk_usage", lambda _: free._replace(free=2**26 - 1))
        assert client("GET", "/readyz").status_code == 507
        assert client("GET", "/healthz").status_code == 200
        monkeypatch.undo()
        job = client.submit(film, boxes=BOX).json()["id"]
        assert client.until(f"/v1/jobs/{job}", "done", "failed")["state"] == "done"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: that takes root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up_ends_requests_and_jobs_but_not_the_service(
    models, film, small_disk, monkeypatch
):
    monkeypatch.setattr("mlops.serving.store._RESERVE_BYTES", -(2**40))  # as if there was room
    with running(small_disk, models) as (client, _):
        waiting = None
        models.hold.clear()
        waiting = client.submit(film, boxes=BOX).json()["id"]
        large = {"video": ("large.mp4", film.read_bytes() + bytes(2 * 2**20))}
        answer = client("POST", "/v1/videos", files=large)
        assert (answer.status_code, answer.json()["title"]) == (507, "Insufficient Storage")
        assert str(small_disk) not in answer.json()["detail"]
        assert len(list((small_disk / "videos").iterdir())) == 1  # nothing is left of it
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(2**20))
        models.hold.set()
        failed = client.until(f"/v1/jobs/{waiting}", "done", "failed")
        assert failed["reason"].startswith("the disk of the service is full")
        filler.unlink()
        job = client.submit(film, boxes=BOX).json()["id"]
        assert client.until(f"/v1/jobs/{job}", "done", "failed")["state"] == "done"


def test_a_result_that_finds_no_room_is_an_error_of_its_job(models, film, tmp_path, monkeypatch):
    part_beside = disk.part_beside

    def full(target):
        if target.name == "result.mp4":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return part_beside(target)

    with running(tmp_path, models) as (client, _):
        models.hold.clear()
        job = client.submit(film, boxes=BOX).json()["id"]
        monkeypatch.setattr(disk, "part_beside", full)
        models.hold.set()
        failed = client.until(f"/v1/jobs/{job}", "done", "failed")
        assert failed["reason"].startswith("the disk of the service is full")
        monkeypatch.undo()
        job = client.submit(film, boxes=BOX).json()["id"]
        assert client.until(f"/v1/jobs/{job}", "done", "failed")["state"] == "done"


def test_a_client_that_is_too_slow_is_cut_off(models, film, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "PACE_S", 0.5)
    with running(tmp_path, models) as (client, _):
        port = int(client.base.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 10) as slow:
            slow.sendall(
                b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            )
            began = time.monotonic()
            # Others are answered meanwhile.
            job = client.submit(film, boxes=BOX).json()["id"]
            answer = slow.recv(2**16).decode()
        assert answer.startswith("HTTP/1.1 408 ")
        assert "came in 0 s: send faster" in answer
        assert time.monotonic() - began < 5
        with socket.create_connection(("127.0.0.1", port), 10) as gone:
            gone.sendall(
                b"POST /v1/videos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n"
                b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            )
        assert client.until(f"/v1/jobs/{job}", "done", "failed")["state"] == "done"
        end = time.monotonic() + 10
        while len(list((tmp_path / "videos").iterdir())) > 1:  # nothing is left of what was cut off
            assert time.monotonic() < end
            time.sleep(0.05)


def test_uris_are_read_only_below_what_the_operator_allows(models, film, tmp_path):
    lake = tmp_path / "lake"
    lake.mkdir()
    shutil.copy(film, lake / "film.mp4")
    (tmp_path / "secret.mp4").write_bytes(film.read_bytes())
    (lake / "link.mp4").symlink_to(tmp_path / "secret.mp4")

    def asked(client, uri):
        return client("POST", "/v1/jobs", files={"boxes": (None, BOX), "video_uri": (None, uri)})

    with running(tmp_path / "s", models) as (client, _):
        assert asked(client, str(lake / "film.mp4")).status_code == 403
    with running(tmp_path / "s", models, allow_uris=(str(lake), "s3://films/a")) as (client, _):
        for bad in (
            tmp_path / "secret.mp4", lake / "../secret.mp4", lake / "link.mp4", f"{lake}er/x.mp4",
            "s3://films/b/x.mp4", "s3://films/ab", "s3://films/a/../b/x.mp4", "http://x/y", lake,
        ):  # fmt: skip
            answer = asked(client, str(bad))
            assert answer.status_code in (403, 422), bad
        assert asked(client, f"{lake}/none.mp4").json()["detail"].endswith("is not there")
        job = asked(client, f"file://{lake}/film.mp4").json()
        assert client.until(f"/v1/jobs/{job['id']}", "done", "failed")["state"] == "done"
