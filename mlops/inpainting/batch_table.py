"""A table of videos as inputs of a batch: CSV or parquet, a row a video."""

import csv
import io
import os
import posixpath
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from data_pipeline.cli.command import UserError, first_few, nearest
from data_pipeline.format.catalogue import decode_table
from data_pipeline.sources.listing import decoded, is_folder
from data_pipeline.sources.video_files import WHEEL
from data_pipeline.storage import lake
from mlops.inpainting.batch_beside import FLOWS, MASK, TRUTH, find_flows
from mlops.inpainting.batch_inputs import TABLES, Found, Job, Shared
from mlops.inpainting.footage_files import Footage, find_footage
from mlops.media.mask_reading import is_boxes

_REQUESTS = 16  # to a store at once, for the files that a table names
_COLUMNS = ("video", "mask", "out", "truth", "flows", "compare")

_Row = Mapping[str, str]


def is_table(uri: str) -> bool:
    """Say whether INPUTS is a table, by its name."""
    return uri.lower().endswith(TABLES) and not is_folder(uri)


def of_table(uri: str, given: Shared) -> Found:
    """List the videos of a table with what belongs to them; no video is opened.

    What a row names goes before what the flags give. A file that is not there is a job with its
    reason in `bad`.

    Args:
        uri: of the table; paths in it are relative to it.
        given: by the flags.

    Raises:
        UserError: the table cannot be used, or --masks is missing.
    """
    rows = _rows(uri)
    columns = set().union(*rows)
    if "video" not in columns:
        raise UserError(
            f"INPUTS {uri} has no column 'video'{nearest('video', columns)} but "
            f"{first_few(columns, 5)}: give the columns {', '.join(_COLUMNS[:3])}"
        )
    if "mask" not in columns and not given.masks:
        raise UserError(f"INPUTS {uri} has no column 'mask': add it, or give --masks")
    for number, row in enumerate(rows, 1):
        if not row.get("video"):
            raise UserError(f"INPUTS {uri}: row {number} names no video: fill it in, or delete it")
    base = uri.rpartition("/")[0]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return Found(jobs=tuple(pool.map(lambda row: _job(row, base, given), rows)))


def _rows(uri: str) -> list[dict[str, str]]:
    """Rows of a table: column -> text, "" for what is empty."""
    try:
        data = lake.read_bytes(uri)
        rows = _csv(data) if uri.lower().endswith(".csv") else decode_table(data).to_pylist()
    except FileNotFoundError as error:
        raise UserError(f"INPUTS {uri} is not there: give a table, or a folder") from error
    except (csv.Error, UnicodeDecodeError, pa.ArrowException) as error:
        raise UserError(f"INPUTS {uri} cannot be read as a table: {error}") from error
    if not rows:
        raise UserError(f"INPUTS {uri} has no rows: give a row for each video")
    return [{str(k).strip(): str(v or "").strip() for k, v in row.items()} for row in rows]


def _csv(data: bytes) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(decoded(data)), strict=True, skipinitialspace=True))


def _job(row: _Row, base: str, given: Shared) -> Job:
    name = row["video"]
    stem = PurePosixPath(name).stem
    out = row.get("out") or f"{stem}.mp4"
    nowhere = Job(name=name, video=None, mask=row.get("mask", ""), out=out)
    try:
        video = _found(find_footage, base, name, "")
        assert isinstance(video, Footage)
        own = _own(row, base)
    except LookupError as error:
        return replace(nowhere, bad=str(error.args[0]))
    if "mask" not in own and not given.masks:
        return replace(nowhere, video=video, bad="has no mask in the table")
    left = replace(
        given,
        masks=None if "mask" in own else given.masks,
        truths=None if "truth" in own else given.truths,
        flows=None if "flows" in own else given.flows,
    )
    return replace(left.job(name, video, stem, out), **own)


def _own(row: _Row, base: str) -> dict[str, Any]:
    """What a row names itself: field of a job -> its value.

    Raises:
        LookupError: it is not there.
    """
    own: dict[str, Any] = {}
    if mask := row.get("mask"):
        own["mask"] = mask if is_boxes(mask) else _found(find_footage, base, mask, MASK)
    if truth := row.get("truth"):
        own["truth"] = _found(find_footage, base, truth, TRUTH)
    if flows := row.get("flows"):
        own["flows"] = _found(find_flows, base, flows, FLOWS)
    if compare := row.get("compare"):
        own["compare"] = compare
    return own


def _found(find: Callable[[str], Footage | None], base: str, name: str, what: str) -> Footage:
    try:
        found = find(_resolved(base, name))
    except UserError as error:
        if not name.startswith(WHEEL):
            raise
        raise LookupError(f"is not there: {error}") from error
    if found is None:
        raise LookupError(f"has no {what}: no {name} there" if what else "is not there")
    return found


def _resolved(base: str, name: str) -> str:
    """Return what a table names as an absolute path or a URI; paths are relative to the table."""
    if name.startswith(WHEEL):
        return name
    if re.match(r"[a-z0-9]+://|[/~]", name):
        return lake.absolute(name)
    if not lake.is_s3(base):
        return os.path.normpath(lake.join(base, name))
    return "s3://" + posixpath.normpath(lake.join(base, name).removeprefix("s3://"))
