"""Read a whole data set again and list every difference to its manifest."""

import hashlib
from dataclasses import dataclass

from data_pipeline import lake, manifest
from data_pipeline.plan import MEGABYTE
from data_pipeline.progress import Progress, progress

_PIECE = 8 * 2**20  # bytes read at a time


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
    """Hash every file of the data set at `uri`.

    Raises:
        UserError: there is no data set.
    """
    uri = lake.absolute(uri)
    expected = manifest.load(uri)
    found = {name for name in lake.list_files(uri) if not manifest.is_work(name)}
    found -= {manifest.MANIFEST}
    differences = [f"{name}: not in the manifest" for name in sorted(found - set(expected.payload))]
    total = sum(file.size for file in expected.payload.values())
    with progress("verify", round(total / MEGABYTE), "MB") as shown:
        for name, file in sorted(expected.payload.items()):
            if name not in found:
                differences.append(f"{name}: missing")
                continue
            size, sha256 = _hash(lake.join(uri, name), shown)
            if size != file.size:
                differences.append(f"{name}: {size} bytes, the manifest says {file.size}")
            elif sha256 != file.sha256:
                differences.append(f"{name}: content differs (sha256 {sha256[:8]}…)")
    if manifest.digest_of(expected.settings, expected.payload) != expected.digest:
        differences.append(f"{manifest.MANIFEST}: its digest is not that of what it says")
    return Checked(uri, expected.digest, len(expected.payload), total, tuple(differences))


def _hash(uri: str, shown: Progress) -> tuple[int, str]:
    """Size and SHA-256 of one file, read piece by piece."""
    digest = hashlib.sha256()
    size = 0
    while piece := lake.read_range(uri, size, _PIECE):
        digest.update(piece)
        size += len(piece)
        shown.advance(round(size / MEGABYTE) - round((size - len(piece)) / MEGABYTE))
    return size, digest.hexdigest()
