"""Many videos by one command: folders, tables and prefixes, bad videos, kills, one version."""

import hashlib
import json
import os
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_pipeline.cli import errors
from data_pipeline.cli.command import Refused
from data_pipeline.cli.rejection import MAX_WORKER_DEATHS
from data_pipeline.storage import lake
from mlops import inpaint, inpaint_batch
from mlops.config import Filling
from mlops.inpainting import batch, batch_actor
from mlops.inpainting.batch_inputs import of_folder, shared
from mlops.media import video
from mlops.tracking import names, registry
from mlops.tracking.registry import Version
from tests.faults.processes import descendants, finish, kill, start_command
from tests.loopback import bucket_on_s3
from tests.mlops import foreign
from tests.tiny import write_video

BOX = "20,10,24,16"  # x, y, width, height
WHITE = "frames[holes] = 255"
SLOW = "import time; time.sleep(0.5); frames[holes] = 255"
# A video without any light ends the process.
DEADLY = "import os; frames.max() or os._exit(1); frames[holes] = 255"
SIZE = {"width": 96, "height": 64}


@pytest.fixture
def white(store, tmp_path):
    """A champion that fills white, and is tagged with the hash of its weights."""
    version = foreign.register(store, tmp_path / "white", WHITE)
    registry.set_tags(store, version, {names.WEIGHTS_SHA256: "a" * 64})
    registry.set_alias(store, version, names.CHAMPION)
    return store


def _run(uri, *argv):
    return inpaint_batch.main([*map(str, argv), "--tracking-uri", uri])


def _rows(out):
    return {row["video"]: row for row in pq.ParquetFile(out / "results.parquet").read().to_pylist()}


def _outputs(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.mp4"))
    }


def _state(folder):
    """Every file with its bytes and the time of its last change."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def _masks(folder, frames=0):
    """A picture, or a folder of so many, whose hole is BOX."""
    mask = np.zeros((SIZE["height"], SIZE["width"]), np.uint8)
    mask[10:26, 20:44] = 255
    files = [folder / f"{n:03d}.png" for n in range(frames)] if frames else [folder]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(file)


def _is_white(path):
    (first, *_) = video.read(path)
    return first[12:24, 22:42].min() > 239 and first[40:].max() < 239


@pytest.mark.usefixtures("workers")
def test_a_folder_is_filled_once_and_what_is_new_in_it_later(white, tmp_path, capsys, monkeypatch):
    films, out = tmp_path / "films", tmp_path / "out"
    for name, frames in (("a10.mp4", 5), ("a2.mp4", 4), ("b/c.mov", 3)):
        write_video(films / name, frames=frames, **SIZE)
    for name in ("._a2.mp4", "Thumbs.db", "README.txt", "b/c.srt"):
        (films / name).write_bytes(b"no video")
    # x264 at a loss reads memory that it never wrote, where frames are as small as these: its bytes
    # differ once in thirty times.
    command = (films, out, "--masks", BOX, "--lossless", "--json")
    assert _run(white, *command) == 0
    first, *_, words, told = capsys.readouterr().out.splitlines()
    assert first == (
        f"{films}: 3 videos, 4 that are none by name passed over "
        "(._a2.mp4, README.txt, Thumbs.db and 1 more)"
    )
    assert words.startswith("3 videos: 3 written, by models:/sttn/1 in ")
    assert words.endswith(f"s; {out}/results.parquet")
    assert json.loads(told)["passed_over"] == 4
    rows = _rows(out)
    assert list(rows) == ["a2.mp4", "a10.mp4", "b/c.mov"]
    assert [row["frames"] for row in rows.values()] == [4, 5, 3]
    assert [row["out"] for row in rows.values()] == ["a2.mp4", "a10.mp4", "b/c.mp4"]
    outputs = _outputs(out)
    for row in rows.values():
        assert (row["status"], row["model"], row["mask"]) == ("ok", "models:/sttn/1", BOX)
        assert row["weights_sha256"] == "a" * 64
        assert row["sha256"] == hashlib.sha256(outputs[row["out"]]).hexdigest()
        assert row["seconds"] > 0
        assert _is_white(out / row["out"])
    # As the command for one video does it.
    alone = films / "a10.mp4", BOX, tmp_path / "alone.mp4", "--lossless", "--tracking-uri", white
    assert inpaint.main([*map(str, alone)]) == 0
    assert (tmp_path / "alone.mp4").read_bytes() == outputs["a10.mp4"]
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["model"] == "models:/sttn/1"
    assert manifest["counts"]["ok"] == manifest["counts"]["videos"] == 3
    assert manifest["settings"]["dilate"] == 0
    assert manifest["results_sha256"] == (
        hashlib.sha256((out / "results.parquet").read_bytes()).hexdigest()
    )
    assert {path.name for path in out.iterdir()} == {
        "a10.mp4", "a2.mp4", "b", "manifest.json", "results.parquet",
    }  # fmt: skip

    before = _state(out)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "_job", None)  # nothing is left to do
        assert _run(white, *command) == 0
        assert "3 videos: 0 written, 3 there already, by models:/sttn/1" in capsys.readouterr().out
        assert _run(white, *command, "--dilate", 3) == 2
        error = capsys.readouterr().err
        assert f"{out} holds the results of another batch (dilate: there 0, now 3)" in error
        assert error.count("\n") == 1
    assert _state(out) == before

    write_video(films / "a2.mp4", frames=6, **SIZE)
    write_video(films / "a3.mp4", frames=2, **SIZE)
    (films / "b" / "c.mov").unlink()
    assert _run(white, *command) == 0
    assert "3 videos: 2 written, 1 there already, by" in capsys.readouterr().out
    rows = _rows(out)
    assert {name: (row["status"], row["frames"]) for name, row in rows.items()} == {
        "a2.mp4": ("ok", 6), "a3.mp4": ("ok", 2), "a10.mp4": ("already", 5),
    }  # fmt: skip
    assert (out / "b" / "c.mp4").read_bytes() == outputs["b/c.mp4"]


@pytest.mark.usefixtures("workers")
def test_a_table_has_masks_of_its_own_and_bad_videos_are_rows(white, tmp_path, capsys):
    films, out = tmp_path / "films", tmp_path / "out"
    for name in ("one.mp4", "two.mp4", "three.mp4"):
        write_video(films / name, frames=4, **SIZE)
    (films / "broken.mp4").write_bytes(b"no video")
    _masks(tmp_path / "masks" / "two.png")
    table = tmp_path / "jobs.csv"
    table.write_text(
        "video,mask,out,note\n"
        f'films/one.mp4,"{BOX}",deep/first.mkv,of nobody\n'
        f"{films}/two.mp4,masks/two.png,,\n"
        "films/three.mp4,masks/three.png,,\n"
        f'films/broken.mp4,"{BOX}",,\n'
        f'films/gone.mp4,"{BOX}",,\n'
    )
    assert _run(white, table, out, "--max-rejected", 0.6) == 0
    assert (
        "5 videos: 2 written, 3 rejected (first: films/three.mp4 has no mask: no masks/three.png "
        "there), by models:/sttn/1 in "
    ) in capsys.readouterr().out
    rows = _rows(out)
    assert [(row["status"], row["out"]) for row in rows.values()] == [
        ("ok", "deep/first.mkv"),
        ("ok", "two.mp4"),
        ("rejected", "three.mp4"),
        ("rejected", "broken.mp4"),
        ("rejected", "gone.mp4"),
    ]
    assert rows["films/gone.mp4"]["reason"] == "is not there"
    assert "broken.mp4 is not a video" in rows["films/broken.mp4"]["reason"]
    assert rows[f"{films}/two.mp4"]["mask"] == f"{tmp_path}/masks/two.png"
    assert _is_white(out / "deep" / "first.mkv")
    assert _is_white(out / "two.mp4")
    assert json.loads((out / "manifest.json").read_bytes())["counts"]["rejected"] == 3

    # What was mended is tried again.
    _masks(tmp_path / "masks" / "three.png")
    write_video(films / "broken.mp4", frames=3, **SIZE)
    assert _run(white, table, out, "--max-rejected", 0.2) == 0
    assert "5 videos: 2 written, 2 there already, 1 rejected" in capsys.readouterr().out


@pytest.mark.usefixtures("workers")
def test_too_many_bad_videos_end_it_and_the_others_stay(white, tmp_path, capsys):
    films, out = tmp_path / "films", tmp_path / "out"
    write_video(films / "a.mp4", frames=4, **SIZE)
    (films / "b.mp4").write_bytes(b"no video")
    command = (films, out, "--masks", BOX, "--workers", 1)
    assert _run(white, *command, "--max-rejected", 0.4) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("refused: 1 of 2 videos cannot be filled (b.mp4 ")
    assert "--max-rejected 0.4 allows: outputs that are made stay; mend or leave out" in error
    assert _is_white(out / "a.mp4")
    assert not (out / "manifest.json").exists()
    assert _run(white, *command, "--max-rejected", 0.5) == 0
    assert "2 videos: 0 written, 1 there already, 1 rejected" in capsys.readouterr().out
    assert not (out / "_work").exists()


@pytest.mark.faults
@pytest.mark.usefixtures("workers")
def test_a_video_that_kills_its_worker_is_a_row(store, tmp_path, capsys):
    foreign.register(store, tmp_path / "model", DEADLY)
    films, out = tmp_path / "films", tmp_path / "out"
    dark = [np.zeros((64, 96, 3), np.uint8)] * 3
    for number, frame in enumerate(dark):
        (films / "dark").mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(films / "dark" / f"{number}.png")
    for name in ("a.mp4", "b.mp4"):
        write_video(films / name, frames=4, **SIZE)
    table = tmp_path / "jobs.parquet"
    columns = {"video": ["films/a.mp4", "films/dark", "films/b.mp4"]}
    pq.write_table(pa.table(columns), table)
    command = (table, out, "--masks", BOX, "--max-rejected", 0.4)
    assert _run(store, *command, "--model", "models:/sttn@candidate") == 0
    assert "(first: films/dark ended its worker 3 times)" in capsys.readouterr().out
    assert [row["status"] for row in _rows(out).values()] == ["ok", "rejected", "ok"]


@pytest.mark.usefixtures("workers")
def test_an_alias_that_moves_meanwhile_changes_nothing(white, tmp_path, capsys, monkeypatch):
    later = foreign.register(white, tmp_path / "black", foreign.BLACK)
    films, out = tmp_path / "films", tmp_path / "out"
    write_video(films / "a.mp4", frames=4, **SIZE)
    true = registry.resolve

    def and_moved(uri, model):
        version = true(uri, model)
        registry.set_alias(uri, later, names.CHAMPION)
        return version

    monkeypatch.setattr(registry, "resolve", and_moved)
    assert _run(white, films, out, "--masks", BOX) == 0
    assert "by models:/sttn/1 in" in capsys.readouterr().out
    assert _is_white(out / "a.mp4")
    # The same command means another version now.
    assert _run(white, films, out, "--masks", BOX) == 2
    assert "model: there models:/sttn/1, now models:/sttn/2" in capsys.readouterr().err


@pytest.mark.usefixtures("workers")
def test_a_model_that_cannot_be_used_ends_it(store, tmp_path, capsys):
    foreign.register(store, tmp_path / "model", foreign.FLOATS)
    films = tmp_path / "films"
    write_video(films / "a.mp4", frames=4, **SIZE)
    argv = (films, tmp_path / "out", "--masks", BOX, "--model", "models:/sttn@candidate")
    assert _run(store, *argv) == 1
    assert "refused: models:/sttn/1 answered float64" in capsys.readouterr().err
    assert _run(store, *argv, "--native") == 2
    assert "cannot work on parts of frames: leave --native out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["{films}", "{out}"], "--masks is missing: give a mask for all videos"),
        (["{films}", "{out}", "--masks", "{no}"], "no is not there: give a picture, a video,"),
        (["{no}", "{out}", "--masks", BOX], "no is not there: give a folder or s3:// prefix"),
        (["{film}", "{out}", "--masks", BOX], "one.mp4 is a file: give a folder of videos"),
        (["{empty}", "{out}", "--masks", BOX], "holds no video but 1 other files (notes.txt)"),
        (["{films}", "{films}/out", "--masks", BOX], "lies in INPUTS"),
        (["{films}", "{full}", "--masks", BOX], "holds 1 files that would be replaced (one.mp4)"),
        (["{twins}", "{out}", "--masks", BOX], "a.mov and a.mp4 would both be written to a.mp4"),
        (["{table}", "{out}"], "films/one.mp4 and films/two.mp4 would both be written to x.mkv"),
        (["{films}", "{out}", "--masks", BOX, "--crf", "60"], "--crf is 60: give 0 (best) to 51"),
        (["{odd}", "{out}", "--masks", BOX], "has no column 'video' (did you mean 'videos'?)"),
        (["{above}", "{out}", "--masks", BOX], "out '../x.mp4' of films/one.mp4 is no path below"),
        (["{onto}", "{films}", "--masks", BOX], "the output of films/one.mp4 is the input"),
        (["{films}", "{out}", "--masks", BOX, "--model", "models:/sttn@best"], "aliases: "),
        (
            ["{films}", "{out}", "--masks", BOX, "--max-rejected", "2"],
            "--max-rejected is 2.0: give",
        ),
    ],
)
def test_mistakes_are_one_line_before_any_work(white, tmp_path, capsys, argv, said):
    place = {
        name: tmp_path / name
        for name in (
            "films",
            "out",
            "no",
            "empty",
            "full",
            "twins",
            "table",
            "odd",
            "above",
            "onto",
        )
    }
    place["film"] = write_video(place["films"] / "one.mp4", frames=2, **SIZE)
    write_video(place["films"] / "two.mp4", frames=2, **SIZE)
    for file in ("empty/notes.txt", "full/one.mp4", "twins/a.mp4", "twins/a.mov"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"something")
    tables = {
        "table": f'video,mask,out\nfilms/one.mp4,"{BOX}",x.mkv\nfilms/two.mp4,"{BOX}",x.mkv\n',
        "odd": "videos\nfilms/one.mp4\n",
        "above": "video,out\nfilms/one.mp4,../x.mp4\n",
        "onto": "video\nfilms/one.mp4\n",
    }
    for name, text in tables.items():
        place[name] = tmp_path / f"{name}.csv"
        place[name].write_text(text)
    before = _state(tmp_path)
    assert _run(white, *(word.format(**place) for word in argv)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert _state(tmp_path) == before
    assert not place["out"].exists()


def test_masks_of_a_folder_belong_to_the_videos_of_their_names(tmp_path):
    films, masks = tmp_path / "films", tmp_path / "masks"
    for name in ("a.mp4", "b/c.mp4", "d.mp4", "e.mp4"):
        (films / name).parent.mkdir(parents=True, exist_ok=True)
        (films / name).write_bytes(b"a video")
    for file in ("a.png", "b/c/000.png", "b/c/001.png", "b/c/notes.txt", "d.png", "d.mp4"):
        (masks / file).parent.mkdir(parents=True, exist_ok=True)
        (masks / file).write_bytes(b"a mask")
    a, c, d, e = of_folder(str(films), shared(str(masks))).jobs
    assert a.mask.uri == f"{masks}/a.png"
    assert (c.name, c.mask.uri) == ("b/c.mp4", f"{masks}/b/c")
    assert [name for name, _, _ in c.mask.files] == ["000.png", "001.png"]
    assert d.bad.startswith("has 2 masks: ")
    assert e.bad == f"has no mask: {masks} has none of the name e"


@pytest.mark.faults
@pytest.mark.usefixtures("workers")
def test_a_killed_batch_goes_on_to_the_same_bytes(store, tmp_path, capsys):
    foreign.register(store, tmp_path / "model", SLOW)
    films, out = tmp_path / "films", tmp_path / "out"
    for number in range(6):
        write_video(films / f"{number}.mp4", frames=4 + number, seed=number, **SIZE)
    flags = (
        "--masks", BOX, "--model", "models:/sttn@candidate", "--tracking-uri", store,
        "--lossless", "--workers", 1, "--json",
    )  # fmt: skip
    process = start_command("mlops/inpaint_batch.py", films, out, *flags)
    deadline = time.monotonic() + 120
    while len(list(out.glob("_work/done/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    kill([process.pid, *(pid for pid, _ in descendants(process.pid))])
    finish(process)
    made = _outputs(out)
    assert 2 <= len(made) < 6
    assert not (out / "manifest.json").exists()
    # Of a worker that was killed while it wrote.
    (out / ".5.mp4.0123abcd.part").write_bytes(b"half of it")
    argv = [str(word) for word in (films, out, *flags)]
    assert inpaint_batch.main(argv) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["written"] + told["already"] == 6
    assert told["already"] >= 2
    assert {path.name for path in out.iterdir() if path.suffix != ".mp4"} == {
        "manifest.json", "results.parquet",
    }  # fmt: skip
    argv[1] = str(tmp_path / "b")
    assert inpaint_batch.main(argv) == 0
    assert _outputs(out) == _outputs(tmp_path / "b")
    assert made.items() <= _outputs(out).items()


@pytest.mark.faults
def test_a_lake_in_and_out(white, tmp_path):
    with bucket_on_s3("films") as bucket:
        for name in ("one.mp4", "two.mp4"):
            local = write_video(tmp_path / name, frames=4, **SIZE)
            lake.upload(local, f"{bucket}/raw/{name}")
        lake.write_bytes(f"{bucket}/raw/broken.mp4", b"no video")
        lake.write_bytes(f"{bucket}/raw/README.txt", b"no video")
        _masks(tmp_path / "masks" / "one.png")
        _masks(tmp_path / "masks" / "two", frames=4)
        _masks(tmp_path / "masks" / "broken.png")
        for path in sorted((tmp_path / "masks").rglob("*.png")):
            name = path.relative_to(tmp_path / "masks").as_posix()
            lake.upload(path, f"{bucket}/masks/{name}")
        command = (
            f"{bucket}/raw", f"{bucket}/clean", "--masks", f"{bucket}/masks",
            "--tracking-uri", white, "--max-rejected", 0.4,
        )  # fmt: skip
        code, said, error = finish(start_command("mlops/inpaint_batch.py", *command))
        assert code == 0, error
        assert "s3://films/raw: 3 videos, 1 that is none by name passed over" in said
        assert (
            "3 videos: 2 written, 1 rejected (first: broken.mp4 s3://films/raw/broken.mp4 is "
            in (said)
        )
        assert lake.list_files(f"{bucket}/clean") == [
            "manifest.json", "one.mp4", "results.parquet", "two.mp4",
        ]  # fmt: skip
        for name in ("one.mp4", "two.mp4", "results.parquet"):
            lake.download(f"{bucket}/clean/{name}", tmp_path / "clean" / name)
        # In a process of its own: workers of a session that is open here have no credentials.
        fewer = (*command[:-1], 0.3)
        code, _, error = finish(start_command("mlops/inpaint_batch.py", *fewer))
        assert code == 1
        assert "1 of 3 videos cannot be filled (broken.mp4 s3://films/raw/broken.mp4 is" in error
    rows = _rows(tmp_path / "clean")
    assert [row["status"] for row in rows.values()] == ["rejected", "ok", "ok"]
    assert rows["two.mp4"]["mask"] == "s3://films/masks/two"
    for name in ("one.mp4", "two.mp4"):
        path = Path(tmp_path, "clean", name)
        assert _is_white(path)
        assert rows[name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not os.environ.get("AWS_ENDPOINT_URL")


def test_a_version_that_ends_its_processes_while_it_is_loaded_is_given_up(monkeypatch):
    begun = 2 * MAX_WORKER_DEATHS  # by two workers
    monkeypatch.setattr(batch_actor.ray, "get", lambda _: begun)
    monkeypatch.setattr(batch_actor, "load", lambda *_: pytest.fail("it was loaded once more"))
    task = batch_actor.BatchTask(
        tracking_uri="",
        version=Version("sttn", "7", {}, ""),
        out="/out",
        filling=Filling(),
        flows=False,
        settings_sha256="",
    )
    row = batch_actor.FillingActor(task, Mock(), 2)({batch_actor.JOB: b""})
    error = errors.decode(row[batch_actor.ERROR])
    assert isinstance(error, Refused)
    assert "models:/sttn/7 ended its process again and again" in str(error)
