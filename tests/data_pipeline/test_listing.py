"""`list`: data sets of a lake, finished or not, and nothing else."""

import json
import os
import time
from pathlib import Path

import pytest

from data_pipeline import run
from data_pipeline.cli.command import UserError
from data_pipeline.format import manifest
from data_pipeline.inspection.listing import list_data_sets
from data_pipeline.storage import lake
from tests.data_pipeline import handmade


@pytest.fixture
def full(tmp_path):
    """A lake with two data sets, an unfinished build, one of a newer format, and other files."""
    root = tmp_path / "lake"
    first = handmade.make(f"{root}/curated/tiny/v1")
    parents = {f"{root}/curated/tiny/v1": first.digest}
    handmade.make(f"{root}/curated/tiny/v2", seed=1, parents=parents, version="v2")
    (root / "curated/half/v1/_staging").mkdir(parents=True)
    for name, days in (("train-00000-abc.json", 3), ("train-00001-def.json", 9)):
        (root / "curated/half/v1/_staging" / name).write_text("{}")
        old = time.time() - days * 86400
        os.utime(root / "curated/half/v1/_staging" / name, (old, old))
    handmade.make(f"{root}/curated/future/v1")
    path = root / "curated/future/v1/manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    for name in ("runs/a/clips-1/manifest.json", "raw/shards/photo.jpg", "raw/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    return root


def test_list_shows_data_sets_only(full):
    found = {f"{one.name}/{one.version}": one for one in list_data_sets(str(full))}
    states = {name: one.state for name, one in found.items()}
    assert states == {
        "future/v1": "unreadable",
        "half/v1": "unfinished",
        "tiny/v1": "ready",
        "tiny/v2": "ready",
    }
    one, made = found["tiny/v1"], manifest.load(f"{full}/curated/tiny/v1")
    assert (one.uri, one.digest) == (f"{full}/curated/tiny/v1", made.digest)
    assert (one.videos, one.frames) == (4, 58)
    assert one.bytes == sum(file.size for file in made.payload.values())
    assert one.created == "2026-11-22T12:00:00+00:00"
    assert found["tiny/v2"].parents == {one.uri: one.digest}
    assert found["half/v1"].bytes == 4
    assert found["half/v1"].untouched_s == pytest.approx(3 * 86400, abs=600)


def test_table_columns_are_aligned(full, capsys):
    assert run.main(["list", str(full), "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    head = lines[0].split()
    assert head[:3] + head[-2:] == ["NAME", "VERSION", "DIGEST", "PARENTS", "STATE"]
    at = {title: lines[0].index(title) for title in ("DIGEST", "CREATED", "PARENTS", "STATE")}
    one, two = (line for line in lines if line.startswith("tiny"))
    digest = manifest.load(f"{full}/curated/tiny/v1").digest
    assert one[at["DIGEST"] :].startswith(digest[:12] + " ")
    assert one[at["CREATED"] :].startswith("2026-11-22 12:00:00  ")
    assert two[at["PARENTS"] :].startswith(f"tiny/v1@{digest[:12]}  ")
    assert two[at["STATE"] :] == "ready"
    (half,) = (line for line in lines if line.startswith("half"))
    assert half[at["STATE"] :] == "unfinished, untouched for 3 days"
    value = json.loads(last)
    assert value["lake"] == str(full)
    assert [one["state"] for one in value["data_sets"]].count("ready") == 2


def test_list_of_a_single_data_set_and_of_an_empty_place(full, capsys):
    (one,) = list_data_sets(f"{full}/curated/tiny/v1")
    assert (one.name, one.version, one.state) == ("tiny", "v1", "ready")
    assert run.main(["list", str(full / "raw")]) == 0
    assert "no data sets" in capsys.readouterr().out
    with pytest.raises(UserError, match="there is nothing at"):
        list_data_sets(str(full / "typo"))


def test_a_build_that_was_killed_before_its_manifest_is_unfinished(full):
    Path(f"{full}/curated/tiny/v2/manifest.json").unlink()
    (one,) = list_data_sets(f"{full}/curated/tiny/v2")
    assert (one.state, one.digest, one.videos) == ("unfinished", "", 0)


def test_a_lake_on_s3(s3):
    root = lake.join(s3, "listed")
    handmade.make(lake.join(root, "tiny", "v1"))
    lake.write_bytes(lake.join(root, "half/v2/shards/train-00000-0123abcd.tar"), b"x")
    assert [(one.name, one.version, one.state) for one in list_data_sets(root)] == [
        ("half", "v2", "unfinished"),
        ("tiny", "v1", "ready"),
    ]
