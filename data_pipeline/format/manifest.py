"""The manifest: the file that makes a directory a data set, written last and never again.

`{"schema", "settings", "payload": {path: {"size", "sha256"}}, "digest", "provenance"}`. The digest
covers schema, settings and payload: what the data is. Provenance (where, when, by which code) is
outside of it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from data_pipeline.cli.canonical import canonical_json, sha256_of_json
from data_pipeline.cli.command import UserError
from data_pipeline.storage import lake

MANIFEST = "manifest.json"
SCHEMA = 2
# Folders of a build in progress: no part of the data set, removed at its end.
STAGING = "_staging"
LEASE = "_lease"
# Paths of the files of a data set, or of a build on its way to one, and nothing else.
PARTS = (
    r"manifest\.json|catalogue\.parquet|croissant\.json|"
    r"shards/[\w-]+-\d{5,}-[0-9a-f]{8}\.tar|index/[\w-]+-\d{5,}\.parquet|"
    rf"({STAGING}|{LEASE})/.*"
)


class NoDataSet(UserError):  # noqa: N818 (it says what is not there)
    """There is no data set at a URI, or none that this version can read."""


@dataclass(frozen=True, slots=True)
class File:
    """Expected size and hash of a file of the data set."""

    size: int
    """Size in bytes."""
    sha256: str
    """Hex digits."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Contents of a manifest."""

    settings: Mapping[str, Any]
    """Settings that decide what the data set holds."""
    payload: Mapping[str, File]
    """All files but the manifest, by their paths below the data set."""
    digest: str
    """Digest of schema, settings and payload: SHA-256, 64 hex digits."""
    provenance: Mapping[str, Any]
    """Place, time, commit and tool versions of the build; no part of the digest."""


def digest_of(settings: Mapping[str, Any], payload: Mapping[str, File]) -> str:
    """Compute the digest of a data set: SHA-256 over schema, settings and payload."""
    return sha256_of_json(_digested(settings, payload))


def load(uri: str) -> Manifest:
    """Read the manifest of the data set at `uri`.

    Raises:
        NoDataSet: there is no data set, or this version cannot read it.
    """
    uri = lake.absolute(uri)
    try:
        text = lake.read_bytes(lake.join(uri, MANIFEST))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoDataSet(_missing(uri)) from error
    try:
        value = json.loads(text)
        schema = value["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise NoDataSet(f"{uri}/{MANIFEST} is not the manifest of a data set") from error
    if schema != SCHEMA:
        raise NoDataSet(
            f"{uri} has a manifest of schema {schema!r}, this version reads schema {SCHEMA}: "
            "use the version of the project that wrote it"
        )
    payload = {path: File(**file) for path, file in value["payload"].items()}
    return Manifest(value["settings"], payload, value["digest"], value["provenance"])


def exists(uri: str) -> bool:
    """Say whether there is a data set at `uri`."""
    return lake.exists(lake.join(uri, MANIFEST))


def create(uri: str, manifest: Manifest) -> None:
    """Write a manifest where there is none; FileExistsError where there is one."""
    value = _digested(manifest.settings, manifest.payload)
    value |= {"digest": manifest.digest, "provenance": dict(manifest.provenance)}
    lake.create_bytes(lake.join(uri, MANIFEST), canonical_json(value) + b"\n")


def is_work(path: str) -> bool:
    """Say whether a path below a data set belongs to a build in progress, not to the data set."""
    return path.partition("/")[0] in (STAGING, LEASE)


def _digested(settings: Mapping[str, Any], payload: Mapping[str, File]) -> dict[str, Any]:
    files = {path: asdict(file) for path, file in payload.items()}
    return {"schema": SCHEMA, "settings": dict(settings), "payload": files}


def _missing(uri: str) -> str:
    if lake.exists(uri) or lake.list_files(uri):
        return (
            f"{uri} has no {MANIFEST}, so it is not a finished data set: build it again with "
            "the same `shard` command, or give another URI"
        )
    return f"no data set at {uri}: build one with `python data_pipeline/run.py shard`"
