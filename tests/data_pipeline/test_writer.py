import io
import threading

import pytest
import webdataset

from data_pipeline.build.job_progress import _Totals
from data_pipeline.build.plan import Shard
from data_pipeline.build.tasks import ShardResult, Task
from data_pipeline.build.writer import Tar, write_shard
from data_pipeline.cli.rejection import MAX_WORKER_DEATHS
from data_pipeline.format.catalogue import OK, REJECTED
from data_pipeline.masks import free_form
from data_pipeline.sources.record import AnnotatedVideo, Limits, SourceVideo
from data_pipeline.sources.video_files import find
from tests.tiny import write_videos

LIMITS = Limits(min_frames=5, max_frames=100, max_pixels=2**20, max_frame_bytes=10**6)


class RecordingReporter:
    """Records the reports of a task; earlier workers died on some videos."""

    def __init__(self, deaths=()):
        self.deaths, self.frames, self.ended = dict(deaths), 0, {}

    def begin(self, video):
        return self.deaths.get(video, 0)

    def frame(self, _size):
        self.frames += 1

    def end(self, video, *, rejected):
        self.ended[video] = rejected


@pytest.fixture
def task(tmp_path, ray_for_all):  # noqa: ARG001 (headers are read in its tasks)
    paths = write_videos(tmp_path / "videos", (6, 7))
    videos = find([str(path) for path in paths], 100)
    return Task(
        shard=Shard("train-00000", "train", tuple(videos)),
        width=32,
        height=16,
        fit="stretch",
        seed=3,
        kinds=(free_form.MOVING, free_form.OBJECT),
        limits=LIMITS,
        donors={"video-0": (AnnotatedVideo("video-9", "/frames", "frames", "/labels"),)},
    )


def test_a_task_can_be_serialised(task):
    order = task.encode()
    assert Task.decode(order.data) == task
    assert (order.shard, order.videos) == ("train-00000", 2)
    assert order == task.encode()


def test_different_tasks_have_different_notes(task):
    one = SourceVideo("v", "train", "zip", "/v.zip", "v.zip", 9, 100, "30/1")
    other = Task.decode(task.encode().data)
    assert other.encode().note == task.encode().note
    for name, value in (
        ("seed", 4),
        ("width", 48),
        ("shard", Shard("train-00000", "train", (one,))),
    ):
        fields = {slot: getattr(task, slot) for slot in task.__slots__}
        assert Task(**{**fields, name: value}).encode().note != task.encode().note


def test_a_written_shard_and_its_report(task, tmp_path):
    reporter = RecordingReporter()
    written = write_shard(task, str(tmp_path / "v1"), reporter)
    assert (reporter.frames, reporter.ended) == (13, {"video-0": False, "video-1": False})
    # No donor can be read: the video goes without its object mask.
    assert {row.id: row.mask_kinds for row in written.videos} == {
        "video-0": ["moving"],
        "video-1": ["moving"],
    }
    assert ShardResult.decode(written.encode()) == written
    assert {path.partition("/")[0] for path in written.payload} == {"shards", "index"}


def test_a_video_that_killed_workers_is_left_out(task, tmp_path):
    reporter = RecordingReporter({"video-0": MAX_WORKER_DEATHS, "video-1": MAX_WORKER_DEATHS - 1})
    written = write_shard(task, str(tmp_path / "v1"), reporter)
    assert {row.id: row.status for row in written.videos} == {"video-0": REJECTED, "video-1": OK}
    assert written.rejected == {"video-0": "video-0.mp4 ended its worker 3 times"}
    assert reporter.ended["video-0"] is True


def test_a_shard_without_videos_has_no_file(task, tmp_path):
    reporter = RecordingReporter(dict.fromkeys(("video-0", "video-1"), MAX_WORKER_DEATHS))
    written = write_shard(task, str(tmp_path / "v1"), reporter)
    assert (written.payload, len(written.rejected)) == ({}, 2)
    assert not (tmp_path / "v1").exists()


def test_deaths_are_counted_as_unfinished_tries():
    totals = _Totals()
    assert totals.begin("good") == 0
    totals.end("good", False)
    for deaths in range(3):
        assert totals.begin("good") == 0
        totals.end("good", False)
        assert totals.begin("bad") == deaths
    assert totals.begin("bad") == 3
    totals.end("bad", True)
    counts = totals.read()
    assert (counts.videos, counts.rejected) == (2, 1)


def test_the_writer_leaves_no_thread(task, tmp_path):
    before = threading.active_count()
    write_shard(task, str(tmp_path / "v1"), RecordingReporter())
    assert threading.active_count() == before


def test_tar_equals_that_of_webdataset(tmp_path):
    members = [("a.meta.json", b"{}"), ("a.f00000.jpg", b"x" * 512), ("a.f00001.jpg", b"y" * 700)]
    ours = tmp_path / "ours.tar"
    with ours.open("wb") as file:
        tar = Tar(file)
        offsets = [tar.add(name, data) for name, data in members]
        # A video that turns out to be bad is cut off again.
        end = tar.tell()
        tar.add("b.f00000.jpg", b"z" * 20_000)
        tar.cut(end)
        tar.close()
    theirs = io.BytesIO()
    with webdataset.TarWriter(
        theirs, user="", group="", mode=0o644, mtime=0, encoder=False
    ) as writer:
        for name, data in members:
            key, _, rest = name.partition(".")
            writer.write({"__key__": key, rest: data})
    assert ours.read_bytes() == theirs.getvalue()
    for offset, (_, data) in zip(offsets, members, strict=True):
        assert ours.read_bytes()[offset : offset + len(data)] == data
