"""Verifies a whole data set and lists every difference.

Compared with the manifest: the files, their sizes and hashes. Compared with each other: the
catalogue of the videos, the indexes of the frames, and the members of the tars. Every byte is read
once.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from data_pipeline.build.plan import MEGABYTE
from data_pipeline.cli.progress import Progress, progress
from data_pipeline.format import manifest
from data_pipeline.format.manifest import File, Manifest
from data_pipeline.inspection.index_check import Tables, member_differences, read_tables
from data_pipeline.inspection.tar_walk import DamagedTarError, Member, Stream, members
from data_pipeline.storage import lake
from data_pipeline.storage.lake import TransientError

# Hashing leaves the interpreter's lock, and requests to S3 wait: more threads than processors.
_THREADS = 8
_SHORT = 12  # digits of a hash that are shown


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """Result of a verification."""

    uri: str
    """URI of the data set."""
    digest: str
    """Digest in the manifest."""
    files: int
    """Files in the manifest."""
    bytes: int
    """Their size in all."""
    differences: tuple[str, ...]
    """One line each; none for an intact data set."""


def verify(uri: str) -> VerifyResult:
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
    return VerifyResult(uri, made.digest, len(made.payload), total, tuple(differences))


def _of_manifest(uri: str, made: Manifest) -> Iterator[str]:
    """Check the digest in the manifest, and find files that it does not name."""
    there = {name for name in lake.list_files(uri) if not manifest.is_work(name)}
    for name in sorted(there - made.payload.keys() - {manifest.MANIFEST}):
        yield f"{name}: not in the manifest"
    if manifest.digest_of(made.settings, made.payload) != made.digest:
        yield f"{manifest.MANIFEST}: its digest is not that of what it says"


def _of_content(uri: str, made: Manifest, shown: Progress) -> Iterator[str]:
    """Check all files: the small ones first, which say what the tars must hold."""
    tars = sorted(name for name in made.payload if name.endswith(".tar"))
    others = sorted(made.payload.keys() - set(tars))
    sound: dict[str, bytes] = {}
    read = 0
    with ThreadPoolExecutor(_THREADS) as pool:
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
    """Read a small file and compare it with the manifest."""
    try:
        data = lake.read_bytes(lake.join(uri, name))
    except (FileNotFoundError, TransientError) as error:
        return b"", [_unreadable(error)]
    return data, _of_file(made.payload[name], len(data), sha256(data).hexdigest())


def _look_at_tar(uri: str, made: Manifest, tables: Tables, name: str) -> list[str]:
    """Compare a tar with the manifest and the tables, in one pass over its bytes."""
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
