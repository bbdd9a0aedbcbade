"""Results of a batch: a row a video, in notes while it works and in a table at its end."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from data_pipeline.cli.canonical import canonical_json
from data_pipeline.cli.command import UserError
from data_pipeline.format.catalogue import decode_table
from data_pipeline.storage import lake

RESULTS = "results.parquet"
MANIFEST = "manifest.json"
WORK = "_work"
"""Folder of what is there only while a batch works: notes, segments of long videos, the lease."""
NOTES = f"{WORK}/done"
SEGMENTS = f"{WORK}/segments"
LEASE = f"{WORK}/lease"

SCHEMA = 1
_REQUESTS = 16  # to a store at once

OK: Literal["ok"] = "ok"
REJECTED: Literal["rejected"] = "rejected"
ALREADY: Literal["already"] = "already"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One video: a row of the table."""

    video: str
    """Its name below INPUTS, or as the table of inputs has it."""
    mask: str
    """URI of its mask, or boxes; "" where there is none."""
    out: str
    """Path of the output below OUT."""
    compare: str = ""
    """Path below OUT of input and result side by side; "" where they are not compared."""
    status: Literal["ok", "rejected", "already"]
    """`already`: an earlier run of the command made the output."""
    reason: str = ""
    """Why it was rejected."""
    remarks: str = ""
    """What of the video is not kept, and the like."""
    model: str
    """models:/NAME/NUMBER."""
    weights_sha256: str
    """Of the version, where it is tagged with it."""
    seconds: float = 0.0
    """Wall time of decoding, filling and encoding."""
    frames: int = 0
    out_bytes: int = 0
    """Size of the output."""
    sha256: str = ""
    """Of the output."""
    hole_psnr_db: float | None = None
    """Of the result inside the holes against the ground truth, mean over the frames with a hole;
    None without a truth or a hole."""
    propagation_psnr_db: float | None = None
    """The same of known pixels carried along optical flow."""
    telea_psnr_db: float | None = None
    """The same of Telea's method."""
    identity: str
    """Hash of all that decides what the output is: video, mask, settings, version."""

    def encode(self) -> bytes:
        """Encode as a note."""
        return canonical_json(asdict(self)) + b"\n"

    @staticmethod
    def decode(data: bytes) -> "Result":
        """Read what `encode` made."""
        return _RESULT.validate_json(data)


_RESULT = TypeAdapter(Result)
_TYPES = {float: pa.float64(), float | None: pa.float64(), int: pa.int64()}
_TABLE = pa.schema(
    [(name, _TYPES.get(kind, pa.string())) for name, kind in Result.__annotations__.items()]
)


def note_of(identity: str) -> str:
    """Return the path of the note that a video is done, below OUT."""
    return f"{NOTES}/{identity}.json"


def encode_table(rows: Sequence[Result]) -> bytes:
    """Encode `results.parquet`."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=_TABLE), sink)
    return bytes(sink.getvalue().to_pybytes())


def read_table(out: str) -> list[Result]:
    """Read `results.parquet` of OUT; [] when there is none.

    Raises:
        UserError: it is not one of this command.
    """
    uri = lake.join(out, RESULTS)
    try:
        return [
            _RESULT.validate_python(row) for row in decode_table(lake.read_bytes(uri)).to_pylist()
        ]
    except FileNotFoundError:
        return []
    except (pa.ArrowException, ValidationError) as error:
        raise _not_ours(uri) from error


def read_manifest(out: str) -> dict[str, Any] | None:
    """Read `manifest.json` of OUT; None when there is none.

    Raises:
        UserError: it is not one of this command.
    """
    uri = lake.join(out, MANIFEST)
    try:
        read: dict[str, Any] = json.loads(lake.read_bytes(uri))
        ours = read["schema"] == SCHEMA and isinstance(read["settings"], dict)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise _not_ours(uri) from error
    if not ours:
        raise _not_ours(uri)
    return read


def finished(out: str, there: Iterable[lake.Entry]) -> dict[str, Result]:
    """Outputs that earlier runs of the command have made and that are still there, by identity.

    Args:
        out: OUT.
        there: all files below it.
    """
    sizes = {one.name: one.size for one in there}
    notes = [name for name in sizes if name.startswith(f"{NOTES}/")]
    with ThreadPoolExecutor(_REQUESTS) as pool:
        rows = list(
            pool.map(lambda name: Result.decode(lake.read_bytes(lake.join(out, name))), notes)
        )
    return {
        row.identity: replace(row, status=ALREADY)
        for row in (*read_table(out), *rows)
        if row.status != REJECTED
        and sizes.get(row.out) == row.out_bytes
        and (not row.compare or row.compare in sizes)
    }


def _not_ours(uri: str) -> UserError:
    return UserError(f"{uri} was not written by this version of the command: give another OUT")
