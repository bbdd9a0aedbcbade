"""Videos found in each layout, and messages about invalid inputs."""

import json
import os

import pytest

from data_pipeline.cli.command import UserError
from data_pipeline.config import ShardConfig
from data_pipeline.sources import video_files
from data_pipeline.sources.annotations import annotations
from data_pipeline.sources.find import find_videos
from data_pipeline.storage import lake
from tests.data_pipeline.sources.limits import LIMITS, bad, read
from tests.layouts import (
    encoded,
    picture,
    shared_data,
    write_davis,
    write_frames,
    write_labels,
    write_sttn,
    write_youtube_vos,
)
from tests.tiny import write_video


def find(source, *inputs, **flags):
    config = ShardConfig(input=tuple(map(str, inputs)), output="/nowhere", source=source, **flags)
    return find_videos(config)


def refusal(source, *inputs, **flags):
    with pytest.raises(UserError) as caught:
        find(source, *inputs, **flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def shape(videos):
    return [(v.id, v.split, v.frames, v.fps) for v in videos]


def upload(folder, uri):
    for path in folder.rglob("*"):
        if path.is_file():
            lake.write_bytes(lake.join(uri, path.relative_to(folder).as_posix()), path.read_bytes())
    return uri


# YouTube-VOS


def test_youtube_vos_as_published(tmp_path):
    every_fifth = range(0, 30, 5)
    write_youtube_vos(tmp_path, {"b": every_fifth, "a": [3, 8, 13]}, annotated={"b": every_fifth})
    write_youtube_vos(tmp_path, {"c": range(7)}, variant="valid")
    videos = find("youtube-vos", tmp_path)
    assert shape(videos) == [
        ("a", "train", 3, "6/1"),
        ("b", "train", 6, "6/1"),
        ("c", "valid", 7, "30/1"),
    ]
    assert [v.name for v in videos] == [
        "train/JPEGImages/a",
        "train/JPEGImages/b",
        "valid/JPEGImages/c",
    ]
    assert [v.annotations for v in videos] == ["", str(tmp_path / "train/Annotations/b"), ""]
    assert videos[2].bytes == sum(
        f.stat().st_size for f in (tmp_path / "valid/JPEGImages/c").iterdir()
    )


def test_a_split_folder_as_input_equals_its_parent(tmp_path):
    write_youtube_vos(tmp_path, {"a": range(5)}, annotated={"a": [0]})
    write_youtube_vos(tmp_path, {"c": range(7)}, variant="test")
    above = find("youtube-vos", tmp_path)
    assert find("youtube-vos", tmp_path / "train") == above[:1]
    assert find("youtube-vos", tmp_path / "train", tmp_path / "test") == above


@pytest.mark.parametrize("inside", [True, False])
def test_the_all_frames_variant_uses_annotations_of_the_other(tmp_path, inside):
    write_youtube_vos(tmp_path, {"a": range(11)}, variant="train_all_frames")
    write_labels(tmp_path / "train/Annotations/a", [0, 5, 10, 15])
    (video,) = find("youtube-vos", tmp_path / "train_all_frames" if inside else tmp_path)
    assert (video.split, video.fps) == ("train", "30/1")
    maps = annotations(video, LIMITS)
    assert [place for place, _ in maps] == [0, 5, 10]  # the last has no frame
    assert maps[0][1].shape == (32, 48)
    assert set(maps[0][1].ravel().tolist()) == {0, 1, 2}


def test_both_variants_of_one_split_are_refused(tmp_path):
    write_youtube_vos(tmp_path, {"a": range(5)})
    write_youtube_vos(tmp_path, {"a": range(5)}, variant="train_all_frames")
    assert "holds train and train_all_frames" in refusal("youtube-vos", tmp_path)
    assert len(find("youtube-vos", tmp_path / "train")) == 1


def test_frames_are_ordered_by_number(tmp_path):
    folder = tmp_path / "train/JPEGImages/a"
    folder.mkdir(parents=True)
    pictures = {f"{n}.jpg": encoded(picture(n)) for n in (8, 9, 10, 100)}
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
    for junk in (".DS_Store", "Thumbs.db", "notes.txt", "._8.jpg"):
        (folder / junk).write_bytes(b"junk")
    (video,) = find("youtube-vos", tmp_path)
    assert (video.frames, video.bad) == (4, "")
    assert read(video) == list(pictures.values())


def test_bad_frame_folders_are_detected_when_listed(tmp_path):
    frames = tmp_path / "train/JPEGImages"
    write_frames(frames / "good", range(5))
    (frames / "empty").mkdir()
    write_frames(frames / "twice", range(5))
    (frames / "twice" / "3.png").write_bytes(b"")
    write_frames(frames / "named", range(5))
    (frames / "named" / "cover.jpg").write_bytes(b"")
    write_frames(frames / "deep", range(5))
    write_frames(frames / "deep" / "more", range(5))
    reasons = {video.id: video.bad for video in find("youtube-vos", tmp_path)}
    assert reasons == {
        "good": "",
        "empty": "has no frames",
        "twice": "has two pictures of one number",
        "named": "has a picture whose name is no number",
        "deep": "has folders inside",
    }
    (empty,) = (v for v in find("youtube-vos", tmp_path) if v.id == "empty")
    assert bad(empty).reason == "has no frames"


def test_annotations_and_lists_without_frames(tmp_path):
    write_youtube_vos(tmp_path, {"a": range(5)}, annotated={"a": [0]})
    write_labels(tmp_path / "train/Annotations/b", [0])
    said = refusal("youtube-vos", tmp_path)
    assert "Annotations/ has 1 videos without a folder of frames (b)" in said
    write_frames(tmp_path / "train/JPEGImages/b", range(5))
    assert len(find("youtube-vos", tmp_path)) == 2
    meta = tmp_path / "train/meta.json"
    meta.write_text(json.dumps({"videos": {name: {} for name in "abcdefg"}}))
    said = refusal("youtube-vos", tmp_path)
    assert "meta.json names 5 videos without a folder of frames (c, d, e and 2 more)" in said
    meta.write_text("{")
    assert "is not JSON" in refusal("youtube-vos", tmp_path)
    meta.write_text("[" * 100_000)
    assert "is not JSON" in refusal("youtube-vos", tmp_path)
    meta.write_text("[]")
    assert 'has no object "videos"' in refusal("youtube-vos", tmp_path)
    meta.unlink()
    assert len(find("youtube-vos", tmp_path)) == 2


# STTN's own layout


def test_sttn_layout(tmp_path):
    write_sttn(tmp_path, train={"b": 6, "a": 5}, test={"c": 7}, inside="c/")
    write_sttn(tmp_path / "more", train={"x": 5})
    (tmp_path / "more/JPEGImages/x.zip").rename(tmp_path / "JPEGImages/x.zip")
    videos = find("sttn-layout", tmp_path)
    assert shape(videos) == [
        ("a", "train", 5, "30/1"),
        ("b", "train", 6, "30/1"),
        ("c", "test", 7, "30/1"),
    ]
    assert [len(read(video)) for video in videos] == [5, 6, 7]
    assert videos[0].name == "JPEGImages/a.zip"
    assert videos[0].bytes == (tmp_path / "JPEGImages/a.zip").stat().st_size


def test_sttn_lists_and_zips_that_do_not_fit(tmp_path):
    write_sttn(tmp_path, train={"a": 5, "b": 6})
    (tmp_path / "train.json").write_text('{"a": 9, "b": 6}')
    a, _ = find("sttn-layout", tmp_path)
    assert bad(a).reason == "has 5 frames, but 9 are listed"
    (tmp_path / "train.json").write_text('{"a": 5, "b": 6, "../c": 7}')
    assert "names 1 videos without a zip (../c)" in refusal("sttn-layout", tmp_path)
    for wrong in ("[1]", '{"a": "5"}', '{"a": 0}', '{"a": true}'):
        (tmp_path / "train.json").write_text(wrong)
        assert "is not an object {video: number of frames}" in refusal("sttn-layout", tmp_path)


# DAVIS


@pytest.mark.parametrize("year", [2016, 2017])
def test_davis(tmp_path, year):
    write_davis(tmp_path, year=year, train=["bear", "cow"], val=["dog"], unlisted=["extra"])
    videos = find("davis", tmp_path)
    assert shape(videos) == [
        ("bear", "train", 6, "24/1"),
        ("cow", "train", 6, "24/1"),
        ("dog", "val", 6, "24/1"),
    ]
    assert videos[0].name == "JPEGImages/480p/bear"
    assert [place for place, _ in annotations(videos[0], LIMITS)] == [0, 1, 2, 3, 4, 5]
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "train.txt").write_text("extra\nbear\n")
    taken = find("davis", tmp_path, split_lists=(f"train={lists / 'train.txt'}",))
    assert [v.id for v in taken] == ["bear", "extra"]


def test_davis_2017_is_preferred_and_lists_must_fit(tmp_path):
    write_davis(tmp_path, train=["bear"], val=["dog"])
    (tmp_path / "ImageSets/2016").mkdir()
    (tmp_path / "ImageSets/2016/train.txt").write_text("dog\n")
    assert [v.split for v in find("davis", tmp_path)] == ["train", "val"]
    (tmp_path / "ImageSets/2017/val.txt").write_text("dog\ncat\n")
    assert "val.txt names 1 videos without a folder of frames (cat)" in refusal("davis", tmp_path)


# Video files


def test_video_files(tmp_path, ray_for_all):  # noqa: ARG001
    write_video(tmp_path / "in" / "my clip.mp4", frames=7)
    write_video(tmp_path / "in" / "sub" / "b.mkv", frames=5)
    (tmp_path / "in" / "notes.txt").write_text("no video " * 100)
    (tmp_path / "in" / "empty.mp4").touch()
    (tmp_path / "in" / "list.m3u8").write_text("#EXTM3U\n")
    (tmp_path / "in" / ".DS_Store").write_text("junk")
    single = write_video(tmp_path / "single.mp4", frames=5)
    videos = find("videos", tmp_path / "in", single)
    assert [(v.id, v.name, v.frames, v.bad) for v in videos] == [
        ("empty", "empty.mp4", 0, "is empty"),
        ("list", "list.m3u8", 0, "is not a video"),
        ("my_clip", "my clip.mp4", 7, ""),
        ("single", "single.mp4", 5, ""),
        ("sub_b", "sub/b.mkv", 5, ""),
    ]
    assert [len(read(v)) for v in videos if not v.bad] == [7, 5, 5]
    assert bad(videos[0]).reason == "is empty"


def test_other_files_beside_videos_are_skipped_and_counted(tmp_path, capsys, ray_for_all):  # noqa: ARG001
    folder = tmp_path / "in"
    write_video(folder / "clip.mp4", frames=5)
    for name in (
        "._clip.mp4", ".DS_Store", "Thumbs.db", "README.txt", "README", "clip.info.json",
        "clip.en.vtt", "clip.srt", "clip.description", "clip.jpg", "clip.webp",
        "clip.f137.mp4.part-Frag3", "clip.mp4.ytdl", "clip.m4a", "SHA256SUMS",
    ):  # fmt: skip
        (folder / name).write_bytes(b"no video")
    (video,) = find("videos", folder)
    assert (video.id, video.bad) == ("clip", "")
    said = capsys.readouterr().out
    assert f"{folder}: 1 file looked at, 15 that are none by name passed over (" in said
    (folder / "clip.mp4").unlink()
    assert "holds no video but 15 that are none by name (" in refusal("videos", folder)
    # A file that is named explicitly is read.
    (named,) = find("videos", folder / "README.txt")
    assert named.bad == "is not a video"


def test_a_file_that_crashes_its_process_does_not_affect_others(tmp_path, monkeypatch, ray_for_all):  # noqa: ARG001
    for name in ("a", "killer", "z"):
        write_video(tmp_path / f"{name}.mp4", frames=5)
    look_all = video_files._look_all

    def look(files, max_frames):
        if any(file.name == "killer.mp4" for file in files):
            os._exit(1)
        return look_all(files, max_frames)

    monkeypatch.setattr(video_files, "_look_all", look)
    reasons = {video.id: video.bad for video in find("videos", tmp_path)}
    assert reasons == {"a": "", "killer": "makes its reader crash", "z": ""}


def test_invalid_video_inputs_are_refused(tmp_path, ray_for_all):  # noqa: ARG001
    good = write_video(tmp_path / "good.mp4", frames=5)
    again = write_video(tmp_path / "sub" / "good.mkv", frames=5)
    (tmp_path / "none").mkdir()
    assert "is not there (did you mean 'good.mp4'?)" in refusal("videos", tmp_path / "god.mp4")
    assert "holds no video" in refusal("videos", tmp_path / "none")
    assert "both give the id 'good': rename one" in refusal("videos", good, again)
    assert "(did you mean 's3'?)" in refusal("videos", "s4://bucket/a.mp4")


def test_long_names_stay_distinct(tmp_path):
    names = ["x" * 90 + end for end in "ab"] + ["short"]
    write_youtube_vos(tmp_path, {name: range(5) for name in names})
    videos = find("youtube-vos", tmp_path)
    assert len({v.id for v in videos}) == 3
    assert all(len(v.id) <= 80 for v in videos)


def test_names_that_map_to_one_id_are_refused(tmp_path):
    write_youtube_vos(tmp_path, {"a b": range(5), "a_b": range(5)})
    said = refusal("youtube-vos", tmp_path)
    assert "both give the id 'a_b'" in said
    assert "a b and " in said


# Wrong inputs


def test_a_wrong_source_suggests_the_right_one(tmp_path):
    write_youtube_vos(tmp_path / "yt", {"a": range(5)})
    write_sttn(tmp_path / "sttn", train={"a": 5})
    write_davis(tmp_path / "davis")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.mp4").touch()
    said = refusal("davis", tmp_path / "yt")
    assert "expected JPEGImages/480p/<video>" in said
    assert f"found train; try --source youtube-vos --input {tmp_path / 'yt'}" in said
    assert "; try --source sttn-layout" in refusal("youtube-vos", tmp_path / "sttn")
    assert "; try --source davis" in refusal("sttn-layout", tmp_path / "davis")
    assert "; try --source videos" in refusal("sttn-layout", tmp_path / "files")
    assert refusal("davis", tmp_path).endswith(f"--source davis --input {tmp_path / 'davis'}")


def test_inputs_that_are_no_folders_are_refused(tmp_path):
    write_youtube_vos(tmp_path / "good", {"a": range(5)})
    (tmp_path / "none").mkdir()
    (tmp_path / "file").touch()
    assert "is not there (did you mean 'good'?)" in refusal("youtube-vos", tmp_path / "godd")
    assert "found nothing" in refusal("youtube-vos", tmp_path / "none")
    assert "is a file" in refusal("youtube-vos", tmp_path / "file")


# The same on S3


def test_every_layout_on_s3(tmp_path, s3, ray_for_all):  # noqa: ARG001
    write_youtube_vos(tmp_path / "yt", {"a": range(20)}, annotated={"a": [0, 5]})
    write_sttn(tmp_path / "sttn", train={"a": 5})
    write_davis(tmp_path / "davis")
    write_video(tmp_path / "videos" / "sub" / "a.mp4", frames=5)
    write_video(tmp_path / "videos" / "b.mp4", frames=6)
    layouts = {"youtube-vos": "yt", "sttn-layout": "sttn", "davis": "davis", "videos": "videos"}
    for source, folder in layouts.items():
        here = find(source, tmp_path / folder)
        there = find(source, upload(tmp_path / folder, f"{s3}/layouts/{folder}"))
        assert shape(here) == shape(there)
        assert [v.name for v in here] == [v.name for v in there]
        assert [read(v) for v in here] == [read(v) for v in there]
        for one, two in zip(here, there, strict=True):
            assert bool(one.annotations) == bool(two.annotations)
            if one.annotations:
                assert len(annotations(one, LIMITS)) == len(annotations(two, LIMITS)) > 0
    (single,) = find("videos", f"{s3}/layouts/videos/sub/a.mp4")
    assert (single.id, single.frames) == ("a", 5)
    assert "did you mean 'a.mp4'?" in refusal("videos", f"{s3}/layouts/videos/sub/b.mp4")
    assert "is not there" in refusal("davis", f"{s3}/layouts/nothing")
    lake.write_bytes(f"{s3}/layouts/list.json", b'["a"]')
    kept = find("youtube-vos", f"{s3}/layouts/yt", split_lists=(f"train={s3}/layouts/list.json",))
    assert len(kept) == 1


# Real data


def test_real_youtube_vos():
    root = shared_data() / "youtube-vos-mini"
    videos = find("youtube-vos", root)
    assert {v.id: v.frames for v in videos} == {
        "bigbuckbunny": 48,
        "bikes-a": 90,
        "bikes-b": 90,
        "bmx-trees": 80,
        "carphone": 120,
        "tennis": 70,
    }
    assert [v.id for v in videos if v.annotations] == ["bmx-trees", "tennis"]
    assert find("youtube-vos", root / "train") == videos
    for video in videos:
        if video.annotations:
            stored = sorted((root / video.name).iterdir())
            assert read(video, 432, 240) == [path.read_bytes() for path in stored]
            maps = annotations(video, LIMITS)
            assert [place for place, _ in maps] == list(range(0, video.frames, 5))
            assert {labels.shape for _, labels in maps} == {(240, 432)}
    carphone = videos[4]
    assert len(read(carphone, 432, 240)) == 120


def test_real_sttn_layout_and_splits():
    root = shared_data()
    videos = find("sttn-layout", root / "sttn-layout/youtube-vos")
    assert shape(videos) == [
        ("bikes-b", "test", 90, "30/1"),
        ("bmx-trees", "train", 80, "30/1"),
        ("carphone", "train", 120, "30/1"),
    ]
    assert len(read(videos[1], 432, 240)) == 80
    lists = (f"train={root}/splits/youtube-vos-train.json",)
    said = refusal("youtube-vos", root / "youtube-vos-mini", split_lists=lists)
    assert "--split-lists names 3471 ids that are not among the videos (003234408d" in said


def test_real_video_files(ray_for_all):  # noqa: ARG001
    videos = find("videos", shared_data() / "videos")
    assert shape(videos) == [
        ("bigbuckbunny", "train", 132, "25/1"),
        ("bikes", "train", 250, "25/1"),
    ]
    assert len(read(videos[1], 64, 32)) == 250
