import hashlib
import os
import random
import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.read.cache import CorruptData, NodeCache, node_cache
from data_pipeline.read.reader import DataSet
from data_pipeline.storage import lake
from data_pipeline.storage.lake import DiskFull

SIZE = 100_000
ROOM = 10 * SIZE


class Source:
    """Files to fetch, and the arguments that a cache takes for them."""

    def __init__(self, folder):
        self.folder = folder
        self.data = [bytes([number]) * SIZE for number in range(6)]
        for number, data in enumerate(self.data):
            (folder / f"{number}.tar").write_bytes(data)

    def path(self, number):
        return self.folder / f"{number}.tar"

    def sha256(self, number):
        return hashlib.sha256(self.data[number]).hexdigest()

    def named(self, number):
        return str(self.path(number)), self.sha256(number), SIZE


@pytest.fixture
def source(tmp_path):
    (tmp_path / "store").mkdir()
    return Source(tmp_path / "store")


@pytest.fixture
def cache(tmp_path):
    return NodeCache(tmp_path / "cache", ROOM)


def kept(cache, source):
    there = {path.name for path in cache.folder.iterdir()} - {"lock", "fetching"}
    numbers = {source.sha256(number): number for number in range(len(source.data))}
    return sorted(numbers[name] for name in there)


def left_over(cache):
    return list((cache.folder / "fetching").iterdir())


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_file_is_fetched_once(cache, source):
    path = cache.path(*source.named(0))
    assert path.read_bytes() == source.data[0]
    source.path(0).unlink()
    again = NodeCache(cache.folder, ROOM)
    assert again.path(*source.named(0)) == path
    # Identified by content, from any source.
    assert again.path("s3://elsewhere/other.tar", source.sha256(0), SIZE) == path
    assert left_over(cache) == []


def test_a_file_with_another_hash_is_refused_and_not_cached(cache, source):
    source.path(0).write_bytes(source.data[1])
    with pytest.raises(CorruptData) as caught:
        cache.path(*source.named(0))
    assert source.sha256(0) in str(caught.value)
    assert source.sha256(1) in str(caught.value)
    assert (kept(cache, source), left_over(cache)) == ([], [])
    source.path(0).unlink()
    with pytest.raises(CorruptData, match=r"0\.tar is missing, but the manifest names it"):
        cache.path(*source.named(0))
    assert (kept(cache, source), left_over(cache)) == ([], [])


def test_a_copy_of_another_size_is_fetched_again(cache, source):
    cache.path(*source.named(0)).write_bytes(b"cut")
    assert cache.path(*source.named(0)).read_bytes() == source.data[0]


def test_least_recently_used_files_are_evicted_first(source, tmp_path):
    cache = NodeCache(tmp_path / "cache", 3 * SIZE)
    for number in (0, 1, 2, 0, 3):
        cache.path(*source.named(number))
    assert kept(cache, source) == [0, 2, 3]
    with cache.open(*source.named(2)) as file:
        for number in (4, 5, 1):
            cache.path(*source.named(number))
        assert kept(cache, source) == [1, 4, 5]
        assert file.read() == source.data[2]  # an open file stays readable after its eviction
    NodeCache(cache.folder, SIZE).path(*source.named(0))
    assert kept(cache, source) == [0]


def test_a_copy_evicted_while_it_is_opened_is_fetched_again(cache, source, fetched, monkeypatch):
    plain = NodeCache.path

    def path(*wanted):
        found = plain(*wanted)
        if len(fetched) == 1:
            found.unlink()  # as another process may that evicts files
        return found

    monkeypatch.setattr(NodeCache, "path", path)
    with cache.open(*source.named(0)) as file:
        assert file.read() == source.data[0]
    assert len(fetched) == 2


def test_a_file_larger_than_the_cache_is_refused(source, tmp_path):
    cache = NodeCache(tmp_path / "cache", SIZE - 1)
    with pytest.raises(UserError, match=r"0\.tar has 100000 bytes.* may hold 99999.*STTN_CACHE_GB"):
        cache.path(*source.named(0))


def test_an_unwritable_cache_folder_is_refused(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be written \(Not a directory\): set STTN_CACHE"):
        NodeCache(tmp_path / "file" / "cache", ROOM).path(*source.named(0))


def test_many_threads_with_a_small_cache(source, tmp_path):
    cache = NodeCache(tmp_path / "cache", 2 * SIZE)
    most = []

    def read(number):
        with cache.open(*source.named(number)) as file:
            most.append(cache.kept_bytes)
            return file.read() == source.data[number]

    wanted = random.Random(0).choices(range(6), k=120)
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, wanted))
    assert max(most) <= 2 * SIZE
    assert left_over(cache) == []


FETCH = """
import sys
from pathlib import Path
from data_pipeline.storage import lake
from data_pipeline.read.cache import NodeCache
folder, log, uri, sha256, size = sys.argv[1:]
plain = lake.download
def logged(*wanted):
    with open(log, "a") as file:
        file.write("fetched ")
    plain(*wanted)
lake.download = logged
print("ready", flush=True)
sys.stdin.read(1)
print(NodeCache(Path(folder), 10**6).path(uri, sha256, int(size)))
"""


@contextmanager
def other_processes(cache, source, count):
    """Processes that fetch file 0 when they are sent a byte."""
    command = [sys.executable, "-c", FETCH, cache.folder, cache.folder.parent / "log"]
    command = [*map(str, command), *map(str, source.named(0))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    others = [subprocess.Popen(command, **pipes) for _ in range(count)]
    try:
        for other in others:
            assert other.stdout.readline() == "ready\n"
        yield others
    finally:
        for other in others:
            other.kill()
            other.communicate()


def go(process):
    process.stdin.write("x")
    process.stdin.flush()


@contextmanager
def stalled(path, data):
    """Make reads of a file block in its middle; yields a function that repairs it."""
    path.unlink()
    os.mkfifo(path)

    def mend():
        path.unlink()
        path.write_bytes(data)

    number = os.open(path, os.O_RDWR)  # does not wait for readers
    os.write(number, data[: len(data) // 2])
    yield mend
    os.close(number)


def test_one_process_of_a_node_fetches_and_all_others_wait(cache, source):
    with (
        other_processes(cache, source, 3) as others,
        stalled(source.path(0), source.data[0]) as mend,
    ):
        go(others[0])
        parts = cache.folder / "fetching"
        wait_until(lambda: list(parts.glob("*.part")))
        for other in others[1:]:
            go(other)
        with ThreadPoolExecutor(2) as threads:
            found = [threads.submit(cache.path, *source.named(0)) for _ in range(2)]
            time.sleep(0.3)  # time for a process that does not wait to show it
            assert (cache.folder.parent / "log").read_text() == "fetched "
            mend()
            others[0].kill()  # amid its download
            assert {future.result(60).read_bytes() for future in found} == {source.data[0]}
        for other in others[1:]:
            assert other.communicate()[0].strip() == str(found[0].result())
    # At most one of the others had to fetch what the killed process did not.
    assert (cache.folder.parent / "log").read_text().count("fetched") <= 2
    assert left_over(cache) == []


def test_partial_downloads_of_dead_processes_are_removed(cache, source):
    with (
        other_processes(cache, source, 1) as (other,),
        stalled(source.path(0), source.data[0]),
    ):
        go(other)
        wait_until(lambda: list((cache.folder / "fetching").glob("*.part")))
        small = NodeCache(cache.folder, 2 * SIZE)
        small.path(*source.named(1))
        small.path(*source.named(2))
        # Space is reserved for a download in progress.
        assert kept(cache, source) == [2]
        other.kill()
        other.wait()
        assert len(left_over(cache)) == 2
        small.path(*source.named(3))
        assert (kept(cache, source), left_over(cache)) == ([2, 3], [])


@pytest.fixture
def small_disk():
    """A disk on which no file can be larger than half of the usual size."""

    @contextmanager
    def small():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return small


def test_a_full_disk_is_reported_once(cache, source, small_disk, capsys):
    cache.path(*source.named(5))
    with small_disk():
        for number in (0, 1, 0):
            with pytest.raises(DiskFull):
                cache.path(*source.named(number))
        assert cache.path(*source.named(5)).read_bytes() == source.data[5]
    assert left_over(cache) == []
    (said,) = capsys.readouterr().err.splitlines()
    assert "the disk is full" in said
    assert "0.tar is read from its store" in said


def test_files_are_evicted_when_the_disk_is_full(cache, source, monkeypatch, capsys):
    for number in (0, 1, 2):
        cache.path(*source.named(number))
    plain = lake.download

    def download(uri, local):
        if len(kept(cache, source)) == 3:
            raise DiskFull("no space left on device")
        plain(uri, local)

    monkeypatch.setattr(lake, "download", download)
    cache.path(*source.named(3))
    assert kept(cache, source) == [1, 2, 3]
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_not_retried_on_each_read(cache, source, monkeypatch):
    tried = []

    def download(uri, _):
        tried.append(uri)
        raise DiskFull("no space left on device")

    def ask():
        with pytest.raises(DiskFull):
            cache.path(*source.named(0))

    monkeypatch.setattr(lake, "download", download)
    ask()
    ask()
    assert len(tried) == 2  # once more after room was made
    monkeypatch.setattr("data_pipeline.read.cache._FULL_S", 0)
    cache = NodeCache(cache.folder, ROOM)
    ask()
    ask()
    assert len(tried) == 6


def test_node_cache_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("STTN_CACHE", str(tmp_path / "deep" / "cache"))
    monkeypatch.delenv("STTN_CACHE_GB", raising=False)
    cache = node_cache()
    assert cache.folder == tmp_path / "deep" / "cache"
    # Other processes use the disk too, so the free bytes are not the same twice.
    assert cache.limit_bytes == pytest.approx(free_bytes(tmp_path) / 2, rel=0.05)
    assert not cache.folder.exists()
    monkeypatch.setenv("STTN_CACHE_GB", "1.5")
    assert node_cache().limit_bytes == 1_500_000_000
    monkeypatch.setenv("STTN_CACHE_GB", "0")
    assert node_cache() is None
    for text in ("much", "-1", "inf", "nan"):
        monkeypatch.setenv("STTN_CACHE_GB", text)
        with pytest.raises(UserError, match=f"STTN_CACHE_GB is '{text}': give a number"):
            node_cache()


def free_bytes(folder):
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


@pytest.fixture(scope="module")
def on_s3(s3, built):
    """The data set on S3: its URI there."""
    uri = lake.join(s3, "cached/v1")
    for name in lake.list_files(built.uri):
        lake.upload(Path(built.uri) / name, lake.join(uri, name))
    return uri


@pytest.fixture
def fetched(monkeypatch):
    """Names of the files that are downloaded."""
    plain, names = lake.download, []

    def download(uri, local):
        names.append(uri.rpartition("/")[2])
        plain(uri, local)

    monkeypatch.setattr(lake, "download", download)
    return names


def test_a_data_set_on_s3_is_read_through_the_cache(on_s3, built, fetched, monkeypatch, tmp_path):
    monkeypatch.setenv("STTN_CACHE", str(tmp_path / "cache"))
    (video,) = DataSet.open(built.uri).videos("test")
    wanted = DataSet.open(built.uri).read_frames(video, [3, 4, 9])
    for _ in range(2):
        data = DataSet.open(on_s3)
        assert np.array_equal(data.read_frames(video, [3, 4, 9]), wanted)
    assert sorted(fetched) == ["catalogue.parquet", video.shard[7:], "test-00000.parquet"]
    monkeypatch.setenv("STTN_CACHE_GB", "0")
    assert np.array_equal(DataSet.open(on_s3).read_frames(video, [3, 4, 9]), wanted)
    assert len(fetched) == 3


def test_files_that_do_not_fit_are_read_from_s3(
    on_s3, built, small_disk, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("STTN_CACHE", str(tmp_path / "cache"))
    near, far = DataSet.open(built.uri), DataSet.open(on_s3)
    (video,) = near.videos("test")
    far.read_masks(video, 0, [0])
    far.files.cache.drop(far.files.payload[video.shard].sha256)
    with small_disk():
        assert np.array_equal(far.read_frames(video, [3, 9]), near.read_frames(video, [3, 9]))
        assert np.array_equal(far.read_masks(video, 1, [3]), near.read_masks(video, 1, [3]))
    assert capsys.readouterr().err.count("the disk is full") == 1


def test_threads_share_one_download(cache, source, fetched):
    start = threading.Barrier(8)

    def get(_):
        start.wait()
        return cache.path(*source.named(0))

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(get, range(8)))) == 1
    assert fetched == ["0.tar"]
