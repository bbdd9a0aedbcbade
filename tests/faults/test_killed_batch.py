"""Forty videos on two workers: bad ones are rows, and after kills it ends with the same files."""

import json
import random
import shutil
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.faults.processes import descendants, finish, kill, start_command, victims
from tests.mlops import foreign
from tests.tiny import write_video

pytestmark = [pytest.mark.faults, pytest.mark.distributed, pytest.mark.timeout(1500)]

VIDEOS, BROKEN, NO_MASK, LONG = 40, "v07", "v13", "v39"
LONG_FRAMES, SEGMENT = 240, 80
SLOW = "import time; time.sleep(0.15); frames[holes] = 255 - frames[holes]"
WORKER = "ray::MapWorker"
SECONDS = 400  # of one run


class Batch:
    """Videos with their masks, a version, and the command that fills them."""

    def __init__(self, folder, new_store):
        self.folder, self.uri = folder, new_store(folder / "store")
        foreign.register(self.uri, folder / "model", SLOW)
        mask = np.zeros((64, 96), np.uint8)
        mask[10:26, 20:44] = 255
        (folder / "masks").mkdir()
        for number in range(VIDEOS):
            name = f"v{number:02d}"
            frames = LONG_FRAMES if name == LONG else 4 + number % 5
            size = {"width": 96, "height": 64}
            write_video(folder / f"films/{name}.mp4", frames=frames, seed=number, **size)
            if name != NO_MASK:
                Image.fromarray(mask).save(folder / f"masks/{name}.png")
        (folder / f"films/{BROKEN}.mp4").write_bytes(b"no video")

    def start(self, out):
        return start_command(
            "mlops/inpaint_batch.py", self.folder / "films", out,
            "--masks", self.folder / "masks", "--model", "models:/sttn@candidate",
            "--tracking-uri", self.uri, "--workers", 2, "--segment-frames", SEGMENT, "--lossless",
            "--json",
        )  # fmt: skip

    def finished(self, out):
        """Run it to its end; gives what it told. On a busy machine Ray may not start at once."""
        for _ in range(3):
            code, said, error = finish(self.start(out), SECONDS)
            if "Ray did not start" not in error:
                break
        assert code == 0, error
        return json.loads(said.splitlines()[-1])


@pytest.fixture(scope="module")
def batch(tmp_path_factory, empty_database):
    def new_store(folder):
        folder.mkdir()
        shutil.copy(empty_database, folder / "mlflow.db")
        return f"sqlite:///{folder}/mlflow.db"

    return Batch(tmp_path_factory.mktemp("batch"), new_store)


@pytest.fixture(scope="module")
def undisturbed(batch):
    """Files of a run that nobody disturbed, and its table."""
    out = batch.folder / "whole"
    told = batch.finished(out)
    assert (told["videos"], told["written"], told["already"]) == (VIDEOS, VIDEOS - 2, 0)
    assert set(told["rejected"]) == {f"{BROKEN}.mp4", f"{NO_MASK}.mp4"}
    return files(out), rows(out)


def files(out):
    """All that is below OUT but the two that say when it was made."""
    made = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert {"results.parquet", "manifest.json"} <= made.keys()
    return {
        name: path.read_bytes()
        for name, path in made.items()
        if name not in ("results.parquet", "manifest.json")
    }


def rows(out):
    """The table but for seconds, and for which run it was that made an output."""
    read = pq.ParquetFile(out / "results.parquet").read().to_pylist()
    for row in read:
        del row["seconds"]
        row["status"] = row["status"].replace("already", "ok")
    return read


def done(out):
    """Videos and segments that are finished."""
    return len([*out.glob("_work/done/*.json"), *out.glob("_work/segments/**/*.zip")])


def wait(process, out, wanted):
    """Wait until a run has finished so many videos and segments, or has ended."""
    while process.poll() is None and done(out) < wanted:
        time.sleep(0.02)


def test_bad_videos_are_rows_with_their_reasons(undisturbed):
    made, table = undisturbed
    assert len(made) == VIDEOS - 2
    reasons = {row["video"]: row["reason"] for row in table if row["status"] == "rejected"}
    assert list(reasons) == [f"{BROKEN}.mp4", f"{NO_MASK}.mp4"]
    assert f"{BROKEN}.mp4 is not a video" in reasons[f"{BROKEN}.mp4"]
    assert reasons[f"{NO_MASK}.mp4"].startswith("has no mask: ")
    assert next(row["frames"] for row in table if row["video"] == f"{LONG}.mp4") == LONG_FRAMES


@pytest.mark.parametrize("seed", range(5))
def test_a_batch_that_is_killed_at_random_ends_with_the_same_files(
    batch, undisturbed, tmp_path, seed
):
    chance, out, at = random.Random(seed), tmp_path / "out", []
    for _ in range(2):
        process, before = batch.start(out), done(out)
        wait(process, out, before + chance.randint(1, 20))
        time.sleep(chance.uniform(0, 0.5))
        kind = chance.choice(("driver", "node"))
        below = [pid for pid, _ in descendants(process.pid)]
        if kill(victims(process, kind, "")):
            at.append((kind, done(out)))
        finish(process)
        kill(below)  # of a driver's local Ray, which would take minutes to see that it is gone
    told = batch.finished(out)
    print(f"seed {seed}: killed {at}, then {told['written']} written, {told['already']} there")
    assert at
    assert told["already"] > 0
    assert (files(out), rows(out)) == undisturbed


def test_a_batch_whose_workers_are_killed_ends_with_the_same_files(batch, undisturbed, tmp_path):
    out, killed = tmp_path / "out", 0
    process = batch.start(out)
    for wanted in (3, 12, 20):
        wait(process, out, wanted)
        killed += kill(victims(process, "worker", WORKER))
    code, said, error = finish(process, SECONDS)
    assert code == 0, error
    told = json.loads(said.splitlines()[-1])
    print(f"{killed} workers killed, {told['written']} written")
    assert killed == 3
    assert (files(out), rows(out)) == undisturbed
