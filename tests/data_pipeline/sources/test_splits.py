import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.cli.command import UserError
from data_pipeline.sources.ids import in_order, video_id
from data_pipeline.sources.record import SourceVideo
from data_pipeline.sources.splits import assign, drawn_for_test, read_lists


def records(*names, split="train"):
    return tuple(
        SourceVideo(name, split, "folder", f"/in/{name}", name, 9, 99, "30/1") for name in names
    )


def splits(videos, **flags):
    chosen = {"held_out": (), "test_share": 0.0, "seed": 0, "lists": {}} | flags
    return {video.id: video.split for video in assign(videos, **chosen)}


def refusal(*args, **flags):
    with pytest.raises(UserError) as caught:
        splits(*args, **flags)
    return str(caught.value)


def test_splits_default_to_the_layout():
    videos = records("a") + records("b", split="val") + records("c", split="")
    assert splits(videos) == {"a": "train", "b": "val"}
    assert splits(records("b", split="valid")) == {"b": "valid"}  # nothing to train on is fine


def test_held_out_videos_form_the_test_split():
    videos = records("a", "b", "clip") + records("c", split="") + records("d", split="")
    assert splits(videos, held_out=["b", "c"]) == {
        "a": "train",
        "b": "test",
        "clip": "train",
        "c": "test",
    }
    said = refusal(videos, held_out=["clap", "a"])
    assert "--held-out names 1 ids that are not among the videos (clap)" in said
    assert "(did you mean 'clip'?): they are a, b, c, clip, d" in said
    assert "is left in the split 'train'" in refusal(records("a", "b"), held_out=["a", "b"])


def test_split_lists_are_read(tmp_path):
    (tmp_path / "array.json").write_text('["a", "b c"]')
    (tmp_path / "object.json").write_text('{"d": 90}')
    (tmp_path / "lines.txt").write_text("e\r\n\n  f \n")
    lists = read_lists(
        [
            f"train={tmp_path}/array.json",
            f"val={tmp_path}/object.json",
            f"test={tmp_path}/lines.txt",
        ]
    )
    assert lists == {"train": {"a", "b_c"}, "val": {"d"}, "test": {"e", "f"}}
    assert splits(records("a", "b_c", "d", "e", "f", "x"), lists=lists) == {
        "a": "train",
        "b_c": "train",
        "d": "val",
        "e": "test",
        "f": "test",
    }
    assert splits(records("a", split=""), lists={"train": ["a"]}) == {"a": "train"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("text", ["a\r\nbé\r\n", '["a", "bé"]', '{"a": 1, "bé": 2}'])
def test_lists_as_editors_save_them(tmp_path, encoding, text):
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "list.txt").write_bytes((mark + text).encode(encoding))
    assert read_lists([f"train={tmp_path / 'list.txt'}"]) == {"train": {"a", video_id("bé")}}


def test_invalid_lists_are_refused(tmp_path):
    videos = records("a", "b", "c")
    said = refusal(videos, lists={"train": ["a", "x1", "x2"], "test": ["b"]})
    assert "--split-lists names 2 ids that are not among the videos (x1, x2)" in said
    said = refusal(videos, lists={"train": ["a", "b"], "test": ["b"]})
    assert "has 1 ids in 'train' and in 'test' (b)" in said
    assert "left in the split 'train'" in refusal(videos, lists={"test": ["a"]})
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "numbers.json").write_text("[1]")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "good").write_text("a")
    for flags, said in (
        (["train"], "is not SPLIT=FILE"),
        ([f"Tr/ain={tmp_path}/good"], "is not SPLIT=FILE"),
        ([f"train={tmp_path}/none"], "is not there"),
        ([f"train={tmp_path}/deep.json"], "is not JSON"),
        ([f"train={tmp_path}/numbers.json"], "holds something that is no id"),
        ([f"train={tmp_path}/binary"], "is no text"),
        ([f"train={tmp_path}/good", f"train={tmp_path}/good"], "gives 'train' twice"),
        ([f"train={tmp_path}"], "is not there"),
    ):
        with pytest.raises(UserError, match=said):
            read_lists(flags)


NAMES = [f"video-{number:04d}" for number in range(2000)]


@given(seed=st.integers(0, 2**63), share=st.floats(0.05, 0.5))
def test_the_held_out_share_is_approximately_met(seed, share):
    drawn = sum(drawn_for_test(name, share, seed) for name in NAMES)
    # Six standard deviations of a binomial.
    assert abs(drawn - share * 2000) < 6 * (2000 * share * (1 - share)) ** 0.5


def test_a_share_is_drawn_independently_for_each_video():
    videos = records(*NAMES) + records("c", split="")
    all_of_them = splits(videos, test_share=0.2, seed=3)
    assert "c" not in all_of_them
    some = splits(videos[5:1000], test_share=0.2, seed=3)
    assert some.items() <= all_of_them.items()
    assert splits(videos, test_share=0.2, seed=4) != all_of_them
    smaller = splits(videos, test_share=0.1, seed=3)
    assert all(all_of_them[name] == "test" for name in smaller if smaller[name] == "test")
    # The split of the layout does not matter.
    other = tuple(replace(video, split="valid") for video in videos[:-1])
    assert splits(other, test_share=0.2, seed=3) == all_of_them


def test_a_share_leaves_no_split_empty():
    assert "draws 0 of 3 videos" in refusal(records("a", "b", "c"), test_share=1e-9)
    assert "draws 3 of 3 videos" in refusal(records("a", "b", "c"), test_share=1.0)


def test_video_ids_are_unique_and_sorted():
    assert video_id("a b/c.d") == "a_b_c_d"
    long = ["y" * 100 + end for end in "ab"]
    ids = [video_id(name) for name in long]
    assert ids[0] != ids[1]
    assert [len(name) for name in ids] == [80, 80]
    assert video_id("y" * 80) == "y" * 80
    with pytest.raises(UserError, match="/in/a and /in/a both give the id 'a'"):
        in_order(records("a", "b", "a"))
    assert [v.id for v in in_order(records("b", "c", "a"))] == ["a", "b", "c"]


def test_lists_of_the_official_splits(tmp_path):
    names = {f"{number:010x}": 180 for number in range(3471)}
    (tmp_path / "train.json").write_text(json.dumps(names))
    assert read_lists([f"train={tmp_path}/train.json"]) == {"train": set(names)}
