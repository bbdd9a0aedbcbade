"""Inputs of a batch: each video with its mask and its output, known before a frame is read."""

import csv
import io
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from data_pipeline.cli.canonical import canonical_json
from data_pipeline.cli.command import UserError, first_few, nearest
from data_pipeline.format.catalogue import decode_table
from data_pipeline.sources.listing import decoded, is_folder, is_junk, is_sidecar
from data_pipeline.sources.numbering import natural
from data_pipeline.sources.video_files import WHEEL, files_below
from data_pipeline.storage import lake
from mlops.inpainting.footage_files import Footage, file_of, find_footage, folder_of, is_picture
from mlops.media.mask_reading import is_boxes

_TABLES = (".csv", ".parquet")
_VIDEO, _MASK, _OUT = "video", "mask", "out"  # columns of a table
_REQUESTS = 16  # to a store at once, for the files that a table names


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One video to fill."""

    name: str
    """Of the video: below INPUTS, or as the table has it."""
    video: Footage | None
    """None where it is not there."""
    mask: str | Footage
    """Boxes, or a file or folder; "" where it is not known."""
    out: str
    """Path of the output below OUT."""
    bad: str = ""
    """Why it cannot be filled, where that is known already."""

    def encode(self) -> bytes:
        """Encode for a worker."""
        return canonical_json(asdict(self))

    @staticmethod
    def decode(data: bytes) -> "Job":
        """Read what `encode` made."""
        return _JOB.validate_json(data)


_JOB = TypeAdapter(Job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What INPUTS and --masks hold."""

    jobs: tuple[Job, ...]
    """Those of a folder in natural order of their names, those of a table in its order."""
    passed_over: tuple[str, ...] = ()
    """Names of the files of a folder that are no videos by their names."""

    def in_words(self, inputs: str) -> str:
        """How many videos there are, in a line."""
        said = f"{inputs}: {len(self.jobs)} video{'s' if len(self.jobs) != 1 else ''}"
        if not self.passed_over:
            return said
        verb = "is" if len(self.passed_over) == 1 else "are"
        which = f"{len(self.passed_over)} that {verb} none by name passed over"
        return f"{said}, {which} ({first_few(self.passed_over)})"


def find(inputs: str, masks: str) -> Found:
    """List the videos of INPUTS with their masks; no video is opened.

    A video or a mask that is not there is a job with its reason in `bad`.

    Args:
        inputs: INPUTS, a folder, a prefix or a table.
        masks: --masks, "" where it is not given.

    Raises:
        UserError: there is no such place, it holds no video, a table cannot be used, or --masks is
            missing or is not there.
    """
    uri = lake.absolute(inputs)
    if uri.lower().endswith(_TABLES) and not is_folder(uri):
        return _of_table(uri, masks)
    return _of_folder(uri, masks)


def absolute_masks(masks: str) -> str:
    """Return --masks with an absolute path; boxes, and nothing, stay as they are."""
    return masks if not masks or is_boxes(masks) else lake.absolute(masks)


def _of_folder(uri: str, masks: str) -> Found:
    entries = lake.list_entries(uri)
    if not entries and not is_folder(uri):
        raise _no_folder(uri)
    known = {one.name: one for one in entries}
    files, passed_over = files_below(uri, entries)
    if not files:
        raise UserError(
            f"INPUTS {uri} holds no video but {len(passed_over)} other files "
            f"({first_few(passed_over) or 'none'}): give a folder of videos, or a table"
        )
    if not masks:
        raise UserError(
            "--masks is missing: give a mask for all videos, or a folder with one for each, or a "
            "table with a column mask as INPUTS"
        )
    shared = _masks(masks)
    jobs = []
    for file in sorted(files, key=lambda one: (natural(one.name), one.name)):
        stem = str(PurePosixPath(file.name).with_suffix(""))
        video = file_of(file.uri, known[file.name])
        jobs.append(_job(file.name, video, shared, stem, f"{stem}.mp4"))
    return Found(jobs=tuple(jobs), passed_over=tuple(passed_over))


def _no_folder(uri: str) -> UserError:
    if lake.exists(uri):
        return UserError(
            f"INPUTS {uri} is a file: give a folder of videos, or a table that ends in "
            f"{' or '.join(_TABLES)}; one video is filled by mlops/inpaint.py"
        )
    beside = (
        [p.name for p in Path(uri).parent.iterdir()] if is_folder(str(Path(uri).parent)) else []
    )
    return UserError(
        f"INPUTS {uri} is not there{nearest(Path(uri).name, beside)}: give a folder or s3:// "
        "prefix of videos, or a table"
    )


# ------------------------------------------------------------------ masks


@dataclass(frozen=True, slots=True, kw_only=True)
class _Masks:
    """What --masks gives."""

    uri: str
    all: str | Footage | None = None
    """One for all videos."""
    each: Mapping[str, Sequence[Footage]]
    """Path below the folder, without ending -> the masks of that name."""

    def of(self, stem: str) -> str | Footage:
        """Return the mask of a video.

        Raises:
            LookupError: there is none, or there are several.
        """
        if self.all is not None:
            return self.all
        found = self.each.get(stem, ())
        if not found:
            raise LookupError(f"has no mask: {self.uri} has none of the name {stem}")
        if len(found) > 1:
            raise LookupError(f"has {len(found)} masks: {first_few(one.uri for one in found)}")
        return found[0]


def _masks(masks: str) -> _Masks:
    if is_boxes(masks):
        return _Masks(uri=masks, all=masks, each={})
    uri = lake.absolute(masks)
    entries = lake.list_entries(uri)
    if entries or is_folder(uri):
        return _Masks(uri=uri, each=_by_stem(uri, entries))
    try:
        return _Masks(uri=uri, all=file_of(uri, lake.entry(uri)), each={})
    except FileNotFoundError as error:
        raise UserError(
            f"--masks {masks} is not there: give a picture, a video, boxes x,y,width,height, or "
            "a folder with a mask for each video"
        ) from error


def _by_stem(uri: str, entries: Sequence[lake.Entry]) -> dict[str, list[Footage]]:
    """Files and folders of pictures below --masks, by their paths without an ending."""
    found: dict[str, list[Footage]] = {}
    folders: dict[str, list[lake.Entry]] = {}
    for one in entries:
        path = PurePosixPath(one.name)
        picture = is_picture(one.name)
        if any(map(is_junk, path.parts)) or (is_sidecar(path.name) and not picture):
            continue
        found.setdefault(str(path.with_suffix("")), []).append(
            file_of(lake.join(uri, one.name), one)
        )
        if picture and path.parent.name:
            folders.setdefault(str(path.parent), []).append(one)
    for name, pictures in folders.items():
        found.setdefault(name, []).append(folder_of(lake.join(uri, name), pictures))
    return found


def _job(name: str, video: Footage, masks: _Masks, stem: str, out: str) -> Job:
    try:
        return Job(name=name, video=video, mask=masks.of(stem), out=out)
    except LookupError as error:
        return Job(name=name, video=video, mask="", out=out, bad=str(error.args[0]))


# ------------------------------------------------------------------ tables


def _of_table(uri: str, masks: str) -> Found:
    rows = _rows(uri)
    columns = set().union(*rows)
    if _VIDEO not in columns:
        raise UserError(
            f"INPUTS {uri} has no column {_VIDEO!r}{nearest(_VIDEO, columns)} but "
            f"{first_few(columns, 5)}: give the columns {_VIDEO}, {_MASK}, {_OUT}"
        )
    if _MASK not in columns and not masks:
        raise UserError(f"INPUTS {uri} has no column {_MASK!r}: add it, or give --masks")
    for number, row in enumerate(rows, 1):
        if not row.get(_VIDEO):
            raise UserError(f"INPUTS {uri}: row {number} names no video: fill it in, or delete it")
    shared = _masks(masks) if masks else None
    base = uri.rpartition("/")[0]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        jobs = list(pool.map(lambda row: _job_of_row(row, base, shared), rows))
    return Found(jobs=tuple(jobs))


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


def _job_of_row(row: Mapping[str, str], base: str, masks: _Masks | None) -> Job:
    name = row[_VIDEO]
    stem = PurePosixPath(name).stem
    out = row.get(_OUT) or f"{stem}.mp4"
    video, mask = _footage(base, name), row.get(_MASK, "")
    if video is None:
        return Job(name=name, video=None, mask=mask, out=out, bad="is not there")
    if not mask:
        if masks is None:
            return Job(name=name, video=video, mask="", out=out, bad="has no mask in the table")
        return _job(name, video, masks, stem, out)
    if is_boxes(mask):
        return Job(name=name, video=video, mask=mask, out=out)
    found = _footage(base, mask)
    if found is None:
        return Job(name=name, video=video, mask="", out=out, bad=f"has no mask: no {mask} there")
    return Job(name=name, video=video, mask=found, out=out)


def _footage(base: str, name: str) -> Footage | None:
    """Find what a table names; None where there is nothing."""
    return find_footage(_resolved(base, name))


def _resolved(base: str, name: str) -> str:
    """Return what a table names as an absolute path or a URI; paths are relative to the table."""
    if name.startswith(WHEEL):
        return name
    if re.match(r"[a-z0-9]+://|[/~]", name):
        return lake.absolute(name)
    if not lake.is_s3(base):
        return os.path.normpath(lake.join(base, name))
    return "s3://" + posixpath.normpath(lake.join(base, name).removeprefix("s3://"))
