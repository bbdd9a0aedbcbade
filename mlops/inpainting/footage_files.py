"""Footage by its name: where its files are, what tells them from changed ones, a copy on disk."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.cli.scratch import scratch_folder
from data_pipeline.sources.listing import is_junk
from data_pipeline.sources.video_files import WHEEL, local_file
from data_pipeline.storage import lake
from mlops.media.mask_reading import is_boxes
from mlops.media.video import PICTURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """A file, or a folder of pictures, that was there when the command began."""

    uri: str
    """Absolute path, s3://bucket/key or wheel:PACKAGE/FILE."""
    files: tuple[tuple[str, int, float], ...]
    """Name, bytes and time of the last change (seconds since 1970, by the store) of the file, or of
    each picture right below the folder."""
    folder: bool

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(size for _, size, _ in self.files)

    def stamp(self) -> list[Any]:
        """Return what is another list when the footage was changed, as JSON."""
        return [self.uri, *map(list, self.files)]


def find_footage(uri: str) -> Footage | None:
    """Find a file, or a folder with pictures; None where there is neither.

    Args:
        uri: absolute path, s3://bucket/key or wheel:PACKAGE/FILE.

    Raises:
        UserError: no package carries a file of that name.
    """
    if uri.startswith(WHEEL):
        path = local_file(uri)
        # Each installation writes the file at another time.
        return Footage(uri=uri, files=((path.name, path.stat().st_size, 0.0),), folder=False)
    try:
        return file_of(uri, lake.entry(uri))
    except FileNotFoundError:
        entries = lake.list_entries(uri)
        pictures = [one for one in entries if "/" not in one.name and is_picture(one.name)]
        return folder_of(uri, pictures) if pictures else None


def stamp_of(name: str) -> Any:
    """Return what is another value when a file, a folder or boxes were changed, as JSON.

    Args:
        name: as a command line has it; "" is none.
    """
    if not name or is_boxes(name):
        return name
    uri = name if name.startswith(WHEEL) else lake.absolute(name)
    if found := find_footage(uri):
        return found.stamp()
    return [uri, *([one.name, one.size, one.modified] for one in lake.list_entries(uri))]


def is_picture(name: str) -> bool:
    """Say whether a file is a picture of a folder by its name."""
    return name.lower().endswith(PICTURES) and not is_junk(name.rpartition("/")[2])


def file_of(uri: str, entry: lake.Entry) -> Footage:
    """Return a file as footage."""
    name = uri.rpartition("/")[2]
    return Footage(uri=uri, files=((name, entry.size, entry.modified),), folder=False)


def folder_of(uri: str, pictures: Sequence[lake.Entry]) -> Footage:
    """Return the pictures right below a folder as footage."""
    files = ((one.name.rpartition("/")[2], one.size, one.modified) for one in pictures)
    return Footage(uri=uri, files=tuple(files), folder=True)


@contextmanager
def on_disk(footage: Footage) -> Iterator[Path]:
    """Give footage a local path; what comes from a store is there until the end."""
    if footage.uri.startswith(WHEEL):
        yield local_file(footage.uri)
    elif not footage.folder:
        with lake.local_copy(footage.uri) as path:
            yield path
    elif not lake.is_s3(footage.uri):
        yield Path(footage.uri)
    else:
        with scratch_folder("pictures") as folder:
            local = folder / footage.uri.rpartition("/")[2]
            for name, _, _ in footage.files:
                lake.download(lake.join(footage.uri, name), local / name)
            yield local
