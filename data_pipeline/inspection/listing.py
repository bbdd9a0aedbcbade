"""Lists the data sets of a lake, from one listing of all its files."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from re import fullmatch

import pyarrow as pa
import pyarrow.compute as pc

from data_pipeline.cli.command import UserError
from data_pipeline.cli.formatting import aligned, human_age, human_bytes
from data_pipeline.format import manifest
from data_pipeline.format.catalogue import CATALOGUE, OK, decode_table
from data_pipeline.storage import lake
from data_pipeline.storage.lake import Entry

READY = "ready"
UNFINISHED = "unfinished"
UNREADABLE = "unreadable"

_PART = rf"(?P<root>.*?)/?(?P<part>{manifest.PARTS})"
_SHORT = 12  # digits of a digest that are shown
_HEAD = ("NAME", "VERSION", "DIGEST", "VIDEOS", "FRAMES", "SIZE", "CREATED", "PARENTS", "STATE")
_WORDS = (0, 1, 2, 6, 7, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSetEntry:
    """A data set of a lake, or the files of an unfinished build."""

    uri: str
    """URI of the data set."""
    name: str
    version: str
    state: str
    """`ready`, `unfinished` (no manifest yet) or `unreadable` (not by this version)."""
    digest: str = ""
    """Empty while there is none, like all that follows."""
    videos: int = 0
    frames: int = 0
    bytes: int = 0
    """Size of all its files."""
    created: str = ""
    """Time in ISO 8601, UTC."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """URI -> digest of the data sets it was derived from."""
    untouched_s: float
    """Seconds since its newest file was written."""


def list_data_sets(uri: str) -> tuple[DataSetEntry, ...]:
    """List all data sets below `uri`, sorted by path.

    Raises:
        UserError: there is nothing at `uri`.
    """
    uri = lake.absolute(uri)
    found = group_by_data_set(lake.list_entries(uri))
    if not found and not lake.exists(uri):
        raise UserError(f"there is nothing at {uri}: give the folder that holds the data sets")
    return tuple(_listed(_below(uri, root), parts) for root, parts in sorted(found.items()))


def group_by_data_set(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Group files by data set: path of the data set below the lake -> files, named below it.

    A manifest alone is no data set: other directories have one too.
    """
    found = defaultdict[str, list[Entry]](list)
    for entry in entries:
        if match := fullmatch(_PART, entry.name):
            found[match["root"]].append(Entry(match["part"], entry.size, entry.modified))
    return {root: parts for root, parts in found.items() if _is_one([p.name for p in parts])}


def table(found: Sequence[DataSetEntry]) -> str:
    """Format as aligned text."""
    return aligned(_HEAD, [_cells(one) for one in found], words=_WORDS)


def _cells(one: DataSetEntry) -> tuple[str, ...]:
    parents = [f"{_short_uri(uri)}@{digest[:_SHORT]}" for uri, digest in one.parents.items()]
    ready = one.state == READY
    state = one.state if ready else f"{one.state}, untouched for {human_age(one.untouched_s)}"
    return (
        one.name,
        one.version,
        one.digest[:_SHORT] or "-",
        f"{one.videos:,}" if ready else "-",
        f"{one.frames:,}" if ready else "-",
        human_bytes(one.bytes),
        one.created.partition("+")[0].replace("T", " ") or "-",
        ", ".join(parents) or "-",
        state,
    )


def _short_uri(uri: str) -> str:
    return "/".join(uri.rstrip("/").split("/")[-2:])


def _is_one(names: Sequence[str]) -> bool:
    """Say whether files are a data set's or a build's; one without videos has no folders."""
    return any("/" in name for name in names) or {manifest.MANIFEST, CATALOGUE} <= set(names)


def _below(uri: str, root: str) -> str:
    return lake.join(uri, root) if root else uri


def _listed(uri: str, parts: Sequence[Entry]) -> DataSetEntry:
    name, version = ["", *uri.split("/")][-2:]
    there = DataSetEntry(
        uri=uri,
        name=name,
        version=version,
        state=UNFINISHED,
        bytes=sum(part.size for part in parts),
        untouched_s=time.time() - max(part.modified for part in parts),
    )
    if all(part.name != manifest.MANIFEST for part in parts):
        return there
    try:
        return _read(there)
    except (UserError, FileNotFoundError, KeyError, pa.ArrowInvalid):
        return replace(there, state=UNREADABLE)


def _read(there: DataSetEntry) -> DataSetEntry:
    """Add what the manifest and the catalogue say."""
    made = manifest.load(there.uri)
    data = lake.read_bytes(lake.join(there.uri, CATALOGUE))
    rows = decode_table(data, ["status", "frames"])
    return replace(
        there,
        state=READY,
        digest=made.digest,
        videos=pc.sum(pc.equal(rows["status"], OK)).as_py() or 0,
        frames=pc.sum(rows["frames"]).as_py() or 0,
        bytes=sum(file.size for file in made.payload.values()),
        created=str(made.provenance.get("created", "")),
        parents=dict(made.provenance.get("parents", {})),
    )
