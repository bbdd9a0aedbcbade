"""Every operation of the lake through a proxy that injects faults."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import fsspec
import pytest

from data_pipeline.storage import lake, s3
from data_pipeline.storage.lease import lease
from tests.faults.s3 import Fault, faulty, s3_server

PIECE = 2**20  # the server's configured minimum size of a part
BIG = random.Random(0).randbytes(2 * PIECE + 1)
SMALL = BIG[:100_000]


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S3_UPLOAD_PART_MIN_SIZE", str(PIECE))
        with s3_server() as endpoint:
            make = urllib.request.Request(f"{endpoint}/bucket", method="PUT")
            urllib.request.urlopen(make).close()
            yield endpoint


@pytest.fixture
def use_endpoint(use_endpoint, server, monkeypatch):
    """Use the server, by a client with short timeouts and small pieces."""
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 0.2)
    monkeypatch.setattr(s3, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(s3, "_PIECE", PIECE)
    use_endpoint(server)
    return use_endpoint


@pytest.fixture(scope="module")
def seen(server):
    """List the bucket as an independent client without faults."""
    other = fsspec.filesystem(
        "s3", endpoint_url=server, key="test", secret="test", skip_instance_cache=True
    )
    other.use_listings_cache = False

    def look(uri):
        other.invalidate_cache()
        root = uri.removeprefix("s3://") + "/"
        found = other.find(uri, detail=True).values()
        files = [item for item in found if item["type"] == "file"]
        return {item["name"].removeprefix(root): item["size"] for item in files}

    look.s3 = other
    return look


def use_all(place, scratch):
    """Every operation that sends requests to S3, each verified."""
    (scratch / "big").write_bytes(BIG)
    small, big, lone = (lake.join(place, name) for name in ("a/small", "a/big", "lone"))
    assert not lake.exists(small)
    lake.create_bytes(small, SMALL)
    with pytest.raises(FileExistsError):
        lake.create_bytes(small, SMALL[1:])
    lake.upload(scratch / "big", big)
    lake.write_bytes(lone, b"old")
    lake.write_bytes(lone, b"")
    assert lake.exists(small)
    assert lake.exists(lake.join(place, "a"))
    assert lake.read_bytes(small) == SMALL
    assert lake.read_bytes(lone) == b""
    assert lake.read_range(big, PIECE - 5, 10) == BIG[PIECE - 5 : PIECE + 5]
    lake.download(big, scratch / "back")
    assert (scratch / "back").read_bytes() == BIG
    with lake.local_copy(big) as path:
        assert path.read_bytes() == BIG
    found = [(entry.name, entry.size) for entry in lake.list_entries(place)]
    assert found == [("a/big", len(BIG)), ("a/small", len(SMALL)), ("lone", 0)]
    lake.remove(lone)
    lake.remove_files(place, ["a/big", "a/small", "never"])
    assert lake.list_files(place) == []


@pytest.mark.parametrize("fault", Fault)
def test_every_operation_succeeds_under_each_fault(server, use_endpoint, tmp_path, fault):
    with faulty(server, seed=1, share=0.2, faults=[fault]) as proxy:
        use_endpoint(proxy)
        use_all(f"s3://bucket/{fault.name}", tmp_path)


def test_a_create_with_a_lost_answer_succeeds(server, use_endpoint):
    with faulty(server, seed=0, share=0.5, faults=[Fault.CUT_ANSWER]) as proxy:
        use_endpoint(proxy)
        for number in range(5):
            lake.create_bytes(f"s3://bucket/lost/{number}", str(number).encode())
            # The same bytes: its own object is not recognised by its content.
            with pytest.raises(FileExistsError):
                lake.create_bytes(f"s3://bucket/lost/{number}", str(number).encode())
    use_endpoint(server)
    assert [lake.read_bytes(f"s3://bucket/lost/{n}") for n in range(5)] == [
        str(n).encode() for n in range(5)
    ]


def test_no_truncated_object_is_ever_listed(server, use_endpoint, seen, tmp_path):
    place = "s3://bucket/listed"
    (tmp_path / "big").write_bytes(BIG)
    whole = {"big": len(BIG), "small": len(SMALL)}
    sizes, done = [], threading.Event()

    def look():
        while not done.is_set():
            sizes.extend(seen(place).items())

    looking = threading.Thread(target=look)
    with faulty(server, seed=2, share=0.3) as proxy:
        use_endpoint(proxy)
        looking.start()
        try:
            for number in range(2):
                lake.upload(tmp_path / "big", f"{place}/{number}-big")
                lake.create_bytes(f"{place}/{number}-small", SMALL)
        finally:
            done.set()
            looking.join()
    assert len(seen(place)) == 4
    assert {(name.partition("-")[2], size) for name, size in sizes} == set(whole.items())


@pytest.mark.parametrize("sent", [0, 1, PIECE // 2, PIECE - 1])
def test_the_server_stores_nothing_of_a_truncated_body(server, use_endpoint, seen, sent):
    """So that the tests above test the lake, not a property of the test server."""
    head = f"PUT /bucket/cut/{sent} HTTP/1.1\r\nHost: x\r\nContent-Length: {PIECE}\r\n\r\n"
    host, _, port = server.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head.encode() + BIG[:sent])
    use_endpoint(server)
    lake.write_bytes("s3://bucket/cut/after", b"")
    assert seen("s3://bucket/cut") == {"after": 0}


@pytest.mark.parametrize("pieces", [1, 20])
def test_a_killed_upload_leaves_nothing_visible(server, use_endpoint, seen, tmp_path, pieces):
    """One request that is always cut; and many slow parts."""
    local, place = tmp_path / "local", f"s3://bucket/killed-{pieces}"
    local.write_bytes(bytes(pieces * PIECE))
    code = (
        "import sys; from pathlib import Path; from data_pipeline.storage import lake, s3\n"
        f"s3._PIECE = {PIECE}; print('begun', flush=True)\n"
        "lake.upload(Path(sys.argv[1]), sys.argv[2])"
    )
    fault, share = (Fault.CUT_REQUEST, 1.0) if pieces == 1 else (Fault.STALL, 0.5)
    with faulty(server, seed=3, share=share, faults=[fault], stall_seconds=0.2) as proxy:
        use_endpoint(proxy)
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(local), f"{place}/file"], stdout=subprocess.PIPE
        )
        with writer:
            assert writer.stdout.readline() == b"begun\n"
            while pieces > 1 and writer.poll() is None and not parts_of(seen.s3, place):
                time.sleep(0.01)
            time.sleep(0.2)
            os.kill(writer.pid, signal.SIGKILL)
        assert writer.returncode == -signal.SIGKILL
    assert seen(place) == {}


def parts_of(store, place):
    """How many parts of the one unfinished upload the server has."""
    uploads = store.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads", [])
    unfinished = [u for u in uploads if place.endswith(u["Key"].partition("/")[0])]
    if not unfinished:
        return 0
    found = store.call_s3(
        "list_parts", Bucket="bucket", Key=unfinished[0]["Key"], UploadId=unfinished[0]["UploadId"]
    )
    return len(found.get("Parts", []))


@pytest.mark.usefixtures("use_endpoint")
def test_a_failed_upload_is_aborted(seen, tmp_path, monkeypatch):
    """An exception between two parts: nothing is visible, and no parts are kept."""
    (tmp_path / "big").write_bytes(BIG)
    ask, parts = s3._request, []

    def interrupted(uri, method, **arguments):
        if method == "upload_part":
            parts.append(method)
            if len(parts) == 2:
                raise KeyboardInterrupt
        return ask(uri, method, **arguments)

    monkeypatch.setattr(s3, "_request", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lake.upload(tmp_path / "big", "s3://bucket/broken/file")
    assert seen("s3://bucket/broken") == {}
    uploads = seen.s3.call_s3("list_multipart_uploads", Bucket="bucket").get("Uploads", [])
    assert not [upload for upload in uploads if upload["Key"].startswith("broken/")]


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.STALL, Fault.BAD_GATEWAY])
def test_a_persistent_fault_ends_the_retries(server, use_endpoint, monkeypatch, fault):
    lake.write_bytes("s3://bucket/ill", b"text")
    monkeypatch.setattr(s3, "RETRY_TIMEOUT_S", 0.6)
    with faulty(server, share=1.0, faults=[fault]) as proxy:
        use_endpoint(proxy)
        with pytest.raises(lake.TransientError, match="run the same command again later") as found:
            lake.read_bytes("s3://bucket/ill")
        assert "\n" not in str(found.value)


def test_a_lease_survives_faults_shorter_than_its_time(server, use_endpoint):
    """Some renewals, each with several requests."""
    with (
        faulty(server, seed=4, share=0.2) as proxy,
        use_endpoint(proxy) or lease("s3://bucket/lease", what="bucket", seconds=2.0) as held,
    ):
        for _ in range(5):
            time.sleep(0.3)
            held.check()


@pytest.mark.usefixtures("use_endpoint")
def test_completing_an_upload_again_after_a_lost_answer(seen, tmp_path, monkeypatch):
    """The answer to the completing request was lost; a retry finds no upload any more."""
    (tmp_path / "big").write_bytes(BIG)
    ask, completed = s3._try, []

    def forgetful(uri, method, arguments, seconds):
        if method == "complete_multipart_upload" and completed:
            raise FileNotFoundError("NoSuchUpload")  # as some stores say
        answer = ask(uri, method, arguments, seconds)
        if method == "complete_multipart_upload":
            completed.append(uri)
            raise lake.TransientError("no answer")
        return answer

    monkeypatch.setattr(s3, "_try", forgetful)
    lake.upload(tmp_path / "big", "s3://bucket/completed/file")
    assert completed
    assert seen("s3://bucket/completed") == {"file": len(BIG)}
