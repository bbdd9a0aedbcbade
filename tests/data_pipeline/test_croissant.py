"""The description for other tools, and the catalogue for SQL."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import duckdb
import pytest

from data_pipeline.format import catalogue, croissant, manifest
from data_pipeline.format.catalogue import VideoRow, decode_catalogue
from data_pipeline.storage import lake
from tests.data_pipeline import handmade

# In a separate process: the library warns when it is imported.
READ = """
import json, os, sys
import mlcroissant
data = mlcroissant.Dataset(jsonld=sys.argv[1])
issues = data.metadata.ctx.issues
assert not issues.errors, issues.errors
rows = [{k: v.decode() if isinstance(v, bytes) else v for k, v in row.items()}
        for row in data.records("videos")]
print(json.dumps({"warnings": sorted(issues.warnings), "rows": rows,
                  "name": data.metadata.name, "files": len(data.metadata.distribution)}))
sys.stdout.flush()
os._exit(0)  # a thread of its libraries may abort the interpreter's end
"""


@pytest.fixture
def made(tmp_path):
    """A data set with its description."""
    root = tmp_path / "lake" / "tiny" / "v1"
    handmade.make(str(root))
    (root / croissant.CROISSANT).write_bytes(describe(root))
    return root


def describe(root, source="videos"):
    there = manifest.load(str(root))
    rows = decode_catalogue((root / catalogue.CATALOGUE).read_bytes())
    return croissant.encode({**there.settings, "source": source}, there.payload, rows)


def read(root):
    command = [sys.executable, "-W", "ignore", "-c", READ, str(root / croissant.CROISSANT)]
    home = {**os.environ, "HOME": str(root.parent)}  # it keeps copies of files there
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_croissant_validates_and_its_records_match_the_catalogue(made):
    found = read(made)
    # A time is left out on purpose: the file is part of the digest.
    assert [text for text in found["warnings"] if "datePublished" not in text] == []
    assert found["name"] == "videos-64x48-inpainting"
    assert found["files"] == 7
    rows = decode_catalogue((made / catalogue.CATALOGUE).read_bytes())
    plain = [one.name for one in fields(VideoRow) if one.type in (str, int)]
    assert found["rows"] == [
        {f"videos/{name}": getattr(row, name) for name in plain} for row in rows
    ]


def test_a_changed_catalogue_is_detected(made):
    path = made / catalogue.CATALOGUE
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(AssertionError, match=r"sha256|Hash"):
        read(made)


@pytest.mark.parametrize("source", ["youtube-vos", "davis", "sttn-layout", "videos"])
def test_every_source_has_a_licence_and_a_citation(made, source):
    described = json.loads(describe(made, source))
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert "terms of" in described["license"]
    assert described["citeAs"]
    assert "(test, train)" in described["description"]
    assert "58 frames of 4 videos" in described["description"]


def test_files_are_described_by_relative_paths(made):
    payload = manifest.load(str(made)).payload
    described = json.loads(describe(made))["distribution"]
    assert {one["contentUrl"]: one["sha256"] for one in described} == {
        path: file.sha256 for path, file in payload.items()
    }
    assert {one["contentSize"] for one in described} == {f"{f.size} B" for f in payload.values()}


def test_the_description_does_not_depend_on_the_location(made, tmp_path):
    other = tmp_path / "elsewhere" / "other" / "v9"
    handmade.make(str(other), version="v9")
    assert describe(other) == describe(made)
    assert str(tmp_path) not in describe(made).decode()


def test_duckdb_queries_catalogue_and_index(made):
    database = duckdb.connect()
    catalogue_, index = str(made / "catalogue.parquet"), str(made / "index" / "*.parquet")
    splits = database.execute(
        "SELECT split, count(*) AS videos, sum(frames) AS frames, "
        "round(sum(frame_bytes) / sum(frames) / 1000, 1) AS kB_a_frame "
        f"FROM '{catalogue_}' WHERE status = 'ok' GROUP BY split ORDER BY split"
    ).fetchall()
    assert [row[:3] for row in splits] == [("test", 1, 6), ("train", 3, 52)]
    bad = database.execute(f"SELECT id, reason FROM '{catalogue_}' WHERE status = 'rejected'")
    assert bad.fetchall() == [("bad", "has no picture")]
    kinds = database.execute(
        f"SELECT kind, count(*) FROM (SELECT unnest(mask_kinds) AS kind FROM '{catalogue_}') "
        "GROUP BY kind ORDER BY kind"
    ).fetchall()
    assert kinds == [("moving", 4), ("stationary", 4)]
    # Index and catalogue join on the id: where the bytes of each frame are.
    shard, offset, size = database.execute(
        f"SELECT i.shard, i.offset, i.size FROM '{index}' i JOIN '{catalogue_}' c "
        "ON i.video = c.id WHERE c.split = 'test' AND i.frame = 3"
    ).fetchone()
    assert lake.read_range(str(Path(made) / shard), offset, size)[:3] == b"\xff\xd8\xff"
