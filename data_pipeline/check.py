"""Read a whole data set again and list every difference.

Against the manifest: which files there are, their sizes and hashes. Against each other: what the
catalogue says of videos, the indexes of frames, and what the tars hold. Every byte is read once.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from data_pipeline import lake, manifest
from data_pipeline.agreement import Tables, member_differences, read_tables
from data_pipeline.lake import TransientError
from data_pipeline.manifest import File, Manifest
from data_pipeline.plan import MEGABYTE
from data_pipeline.progress import Progress, progress
from data_pipeline.tar_walk import DamagedTarError, Member, Stream, members

# Hashing leaves the interpreter's lock, and requests to S3 wait: more threads than processors.
_AT_ONCE = 8
_SHORT = 12  # digits of a hash that are shown


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found."""

    uri: str
    """Of the data set."""
    digest: str
    """That the manifest gives."""
    files: int
    """That the manifest names."""
    bytes: int
    """That the manifest names."""
    differences: tuple[str, ...]
    """One line each; none for a sound data set."""


def verify(uri: str) -> Checked:
    """Read every file of the data set at `uri`.

    Tars are compared with the tables only where the tables themselves are sound.

    Raises:
        UserError: there is no data set.
    """
    uri = lake.absolute(uri)
    made = manifest.load(uri)
    total = sum(file.size for file in made.payload.values())
    with progress("verify", round(total / MEGABYTE), "MB") as shown:
        differences = [*_of_manifest(uri, made), *_of_content(uri, made, shown)]
        shown.at(round(total / MEGABYTE))
    return Checked(uri, made.digest, len(made.payload), total, tuple(differences))


def _of_manifest(uri: str, made: Manifest) -> Iterator[str]:
    """What is wrong with the manifest itself, and files that it does not name."""
    there = {name for name in lake.list_files(uri) if not manifest.is_work(name)}
    for name in sorted(there - made.payload.keys() - {manifest.MANIFEST}):
        yield f"{name}: not in the manifest"
    if manifest.digest_of(made.settings, made.payload) != made.digest:
        yield f"{manifest.MANIFEST}: its digest is not that of what it says"


def _of_content(uri: str, made: Manifest, shown: Progress) -> Iterator[str]:
    """Differences of all files: the small ones first, which say what the tars must hold."""
    tars = sorted(name for name in made.payload if name.endswith(".tar"))
    others = sorted(made.payload.keys() - set(tars))
    sound: dict[str, bytes] = {}
    read = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        small = pool.map(partial(_look_at_file, uri, made), others)
        for name, (data, lines) in zip(others, small, strict=True):
            yield from (f"{name}: {line}" for line in lines)
            if not lines:
                sound[name] = data
        tables = read_tables(made, sound)
        yield from tables.differences
        large = pool.map(partial(_look_at_tar, uri, made, tables), tars)
        for name, lines in zip(tars, large, strict=True):
            yield from (f"{name}: {line}" for line in lines)
            read += made.payload[name].size
            shown.at(round(read / MEGABYTE))


def _look_at_file(uri: str, made: Manifest, name: str) -> tuple[bytes, list[str]]:
    """A small file and its differences to the manifest."""
    try:
        data = lake.read_bytes(lake.join(uri, name))
    except (FileNotFoundError, TransientError) as error:
        return b"", [_unreadable(error)]
    return data, _of_file(made.payload[name], len(data), sha256(data).hexdigest())


def _look_at_tar(uri: str, made: Manifest, tables: Tables, name: str) -> list[str]:
    """Differences of a tar to the manifest and to the tables, from one pass over its bytes."""
    stream = Stream(lake.join(uri, name))
    found: list[Member] = []
    damage: list[str] = []
    try:
        try:
            found.extend(members(stream))
        except DamagedTarError as error:
            damage.append(str(error))
        stream.drain()
    except (FileNotFoundError, TransientError) as error:
        return [_unreadable(error)]
    lines = _of_file(made.payload[name], stream.size, stream.sha256) + damage
    return [*lines, *member_differences(tables, name, found)]


def _unreadable(error: Exception) -> str:
    return "missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"


def _of_file(expected: File, size: int, digest: str) -> list[str]:
    if size != expected.size:
        return [f"{size} bytes, the manifest says {expected.size}"]
    if digest != expected.sha256:
        return [f"content differs (sha256 {digest[:_SHORT]}…, not {expected.sha256[:_SHORT]}…)"]
    return []
