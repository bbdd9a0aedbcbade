"""Deletes a data set that nothing refers to, and remains of abandoned builds.

The manifest goes first: from then on there is no data set. A copy of it among the work files says
what is still to be deleted, so that the same command finishes after an interruption.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from re import fullmatch

from data_pipeline.cli.command import Refused, UserError, first_few
from data_pipeline.config import RemoveConfig
from data_pipeline.format import manifest
from data_pipeline.inspection.listing import group_by_data_set, list_data_sets
from data_pipeline.storage import lake
from data_pipeline.storage.lake import Entry
from data_pipeline.storage.lease import Held, lease

MARK = f"{manifest.STAGING}/removed.json"

_CACHED = r"[0-9a-f]{64}"  # as `cache` names a file
_FOLDERS = ("shards", "index", manifest.STAGING, manifest.LEASE)
_SHOWN = 5  # referrers that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveResult:
    """Files that were deleted, or would be."""

    uri: str
    """Data set or lake that the command named."""
    removed: tuple[str, ...]
    """Description of each thing that was deleted."""
    files: int
    bytes: int


References = Callable[[str, str], tuple[str, ...]]
"""(tracking URI, digest) -> descriptions of what refers to the data set."""


def remove_data_set(config: RemoveConfig, references: References) -> RemoveResult:
    """Delete the data set at `config.uri`.

    Args:
        config: what to delete and where to look for references.
        references: searches MLflow.

    Raises:
        UserError: there is no data set, or no registry is given.
        Refused: something refers to it, or another process is writing there.
    """
    uri = lake.absolute(config.uri)
    parts = {part.name: part for part in _parts(uri)}
    if manifest.MANIFEST in parts:
        digest = manifest.load(uri).digest
        _refuse_if_needed(uri, digest, config, references)
    elif MARK not in parts:
        raise _no_data_set(uri, bool(parts))
    if not config.dry_run:
        with lease(lake.join(uri, manifest.LEASE), what=f"data set {uri}"):
            lake.write_bytes(lake.join(uri, MARK), b"being removed\n")
            lake.remove(lake.join(uri, manifest.MANIFEST))
            _delete(uri, [name for name in parts if name != MARK and not _is_lease(name)])
        _delete(uri, [part.name for part in _parts(uri)])  # the lease left an entry
    return _removed(uri, [uri], parts.values())


def remove_abandoned(config: RemoveConfig) -> RemoveResult:
    """Delete unfinished builds, partial files and cached files not touched for some days.

    A build counts as a whole: one new file keeps all of it.

    Raises:
        UserError: there is no such lake or cache.
    """
    assert config.older_than is not None
    uri = lake.absolute(config.uri)
    age_s = timedelta(days=config.older_than).total_seconds()
    if not lake.exists(uri):
        raise UserError(f"there is nothing at {uri}: give the folder that holds the data sets")
    # The times of its files are of the store's clock; this machine's may be far away from it.
    before = lake.now(uri) - age_s
    removed: list[str] = []
    going: list[Entry] = []
    for root, parts in group_by_data_set(lake.list_entries(uri)).items():
        place = lake.join(uri, root) if root else uri
        left = _abandoned(parts, before)
        if left and (config.dry_run or _delete_abandoned(place, before)):
            ready = len(left) < len(parts)
            removed.append(f"{'work files of' if ready else 'unfinished build'} {place}")
            going += left
    for what, path in _old_files(uri, config.cache, before, time.time() - age_s):
        removed.append(f"{what} {path}")
        going.append(Entry(str(path), path.stat().st_size, 0.0))
        if not config.dry_run:
            path.unlink(missing_ok=True)
    return _removed(uri, removed, going)


def _refuse_if_needed(uri: str, digest: str, config: RemoveConfig, references: References) -> None:
    """Raise when something refers to the data set, or when that is not known."""
    if not config.tracking_uri and not config.no_registry:
        raise UserError(
            f"{uri}: runs and models may refer to it: give --tracking-uri (or set "
            "MLFLOW_TRACKING_URI), or --no-registry when there is none"
        )
    who = [] if config.no_registry else list(references(config.tracking_uri, digest))
    around = config.lake or _lake_of(uri)
    for other in list_data_sets(around):
        if digest in other.parents.values() and other.uri != uri:
            who.append(f"data set {other.uri}")
    if who:
        raise Refused(
            f"{uri} is used by {first_few(who, _SHOWN)}: nothing was removed; remove those first, "
            "or keep it"
        )


def _lake_of(uri: str) -> str:
    """`…/LAKE` of `…/LAKE/NAME/VERSION`, or what comes nearest to it."""
    scheme, separator, rest = uri.partition("://")
    parts = (rest if separator else uri).split("/")
    above = parts[: max(len(parts) - 2, 1 if separator else 2)]
    return f"{scheme}://{'/'.join(above)}" if separator else "/".join(above)


def _no_data_set(uri: str, unfinished: bool) -> UserError:
    if unfinished:
        return UserError(
            f"{uri} is an unfinished build, no data set: finish it with the same `shard` command, "
            "or delete it when it is abandoned with --older-than DAYS"
        )
    return UserError(f"no data set at {uri}: `list` shows what a lake holds")


def _parts(uri: str) -> list[Entry]:
    """List the files of the data set, or of the build, at `uri`, and no others."""
    return group_by_data_set(lake.list_entries(uri)).get("", [])


def _is_lease(name: str) -> bool:
    return name.startswith(f"{manifest.LEASE}/")


def _delete(uri: str, names: Sequence[str]) -> None:
    """Delete files, the mark last, and then the empty folders."""
    lake.remove_files(uri, sorted(names, key=lambda name: (name == MARK, name)))
    if not lake.is_s3(uri):
        for folder in (*_FOLDERS, ""):  # emptied by a removal that was interrupted
            with contextlib.suppress(OSError):  # not there, or not empty
                (Path(uri) / folder).rmdir()


def _abandoned(parts: Sequence[Entry], before: float) -> list[Entry]:
    """List the old files that may be deleted: of a finished data set work files only."""
    ready = any(part.name == manifest.MANIFEST for part in parts)
    left = [part for part in parts if manifest.is_work(part.name)] if ready else list(parts)
    return left if all(part.modified < before for part in left) else []


def _delete_abandoned(uri: str, before: float) -> bool:
    """Delete the remains of a build; False when another process works on it after all."""
    try:
        with lease(lake.join(uri, manifest.LEASE), what=f"the build at {uri}"):
            parts = [part for part in _parts(uri) if not _is_lease(part.name)]
            _delete(uri, [part.name for part in _abandoned(parts, before)])
    except Held:
        return False
    _delete(uri, [part.name for part in _parts(uri) if _is_lease(part.name)])
    return True


def _old_files(
    uri: str, cache: str, before: float, used_before: float
) -> Iterator[tuple[str, Path]]:
    """Find old partial files below a lake on disk, and old files of a cache of this node."""
    if cache and not Path(cache).is_dir():
        raise UserError(f"there is no cache folder {cache}: give the one that STTN_CACHE names")
    for partial in lake.list_partial_files(uri):
        if partial.modified < before:
            yield "partial file", Path(uri, partial.name)
    for path in sorted(Path(cache).iterdir()) if cache else ():
        if fullmatch(_CACHED, path.name) and _is_old(path, used_before):
            yield "cached file", path


def _is_old(path: Path, before: float) -> bool:
    return path.is_file() and path.stat().st_mtime < before


def _removed(uri: str, removed: Sequence[str], going: Collection[Entry]) -> RemoveResult:
    return RemoveResult(
        uri=uri,
        removed=tuple(removed),
        files=len(going),
        bytes=sum(entry.size for entry in going),
    )
