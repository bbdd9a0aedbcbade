"""Lists an input recursively, with sizes; and the messages for an input of another layout."""

import codecs
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.cli.command import UserError, first_few, nearest
from data_pipeline.sources.record import BadVideoError
from data_pipeline.storage import lake

PICTURE = re.compile(r"([0-9]{1,18})\.(jpe?g|png|webp|bmp)", re.IGNORECASE)

# Files that operating systems and tools leave in folders; never part of a data set.
_JUNK = re.compile(r"\..*|thumbs\.db|desktop\.ini|__macosx|@eadir", re.IGNORECASE)
# Files beside videos that are no videos: texts, subtitles, lists, checksums, covers, sound, partial
# downloads.
_SIDECAR = re.compile(
    r".*\.(?:txt|md|rst|rtf|pdf|docx?|odt|html?|url|webloc|desktop|lnk|nfo|log|ini|cfg|toml|xml"
    r"|json|jsonl|jsonc|csv|tsv|ya?ml|parquet|description|torrent|aria2|md5|sha\d*|sfv|sig|asc|par2"
    r"|vtt|srt|ass|ssa|sub|idx|sup|sbv|ttml|dfxp|lrc|smi|edl|bif|ffmetadata"
    r"|jpe?g|png|webp|bmp|tiff?|heic|avif|svg|ico|psd"
    r"|mp3|m4a|aac|wav|flac|opus|oga|wma|ac3|dts"
    r"|part|part-frag\d+|ytdl|temp|tmp|crdownload|download|partial|zip|gz|tar|7z|rar|py|sh|bat)"
    r"|readme|licen[cs]e|copying|makefile|checksums?|md5sums?|sha\d*sums?",
    re.IGNORECASE,
)
_MAX_LIST_BYTES = 2**28

# How each layout is recognised; group 1 is the folder that --input should name.
_LAYOUTS = (
    ("davis", re.compile(r"(.*/)?JPEGImages/480p/.+/[^/]+")),
    ("sttn-layout", re.compile(r"(.*/)?JPEGImages/[^/]+\.zip")),
    ("youtube-vos", re.compile(r"(.*/)?(?:train|valid|test)(?:_all_frames)?/JPEGImages/.+/[^/]+")),
    ("videos", re.compile(r"(.*/)?[^/]+\.(?:mp4|mov|mkv|avi|webm|mpe?g|m4v|ts|wmv|flv)", re.I)),
)


@dataclass(frozen=True, slots=True)
class File:
    """File that an input names or holds."""

    uri: str
    """Place of the file."""
    name: str
    """Name below the input."""
    bytes: int
    """Size in bytes."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All files below an input, without junk."""

    uri: str
    """URI of the input."""
    folders: dict[str, dict[str, int]]
    """Folder below `uri` ("" is itself) -> file name -> bytes."""

    def children(self, folder: str) -> dict[str, dict[str, int]]:
        """List the folders right below a folder: name -> file name -> bytes.

        A folder without files is there too (S3 has none of these).
        """
        start = f"{folder}/"
        found = {
            path.removeprefix(start): files
            for path, files in self.folders.items()
            if path.startswith(start) and "/" not in path.removeprefix(start)
        }
        return {name: {} for name in _subfolders(lake.join(self.uri, folder))} | found

    def has(self, folder: str) -> bool:
        """Say whether there is a file somewhere below a folder."""
        return any(path == folder or path.startswith(f"{folder}/") for path in self.folders)

    def nested(self) -> set[str]:
        """List the folders that hold folders with files."""
        found: set[str] = set()
        for path in self.folders:
            above = path.rpartition("/")[0]
            while above and above not in found:
                found.add(above)
                above = above.rpartition("/")[0]
        return found

    def file(self, path: str) -> bytes | None:
        """Read a small file; None when there is none.

        Raises:
            UserError: it is not small.
        """
        folder, _, name = path.rpartition("/")
        size = self.folders.get(folder, {}).get(name)
        if size is None:
            return None
        uri = lake.join(self.uri, path)
        if size > _MAX_LIST_BYTES:
            raise UserError(f"{uri} has {size} bytes, too many for a list: give the right file")
        return lake.read_bytes(uri)


def listing(uri_or_path: str) -> Listing:
    """List an input.

    Raises:
        UserError: there is no folder.
    """
    uri = lake.absolute(uri_or_path)
    found = Listing(uri, by_folder((entry.name, entry.size) for entry in lake.list_entries(uri)))
    if not found.folders and not is_folder(uri):
        if lake.exists(uri):
            raise UserError(f"--input {uri} is a file: give the folder that holds the data set")
        beside = Path(uri).parent
        names = [p.name for p in beside.iterdir()] if is_folder(str(beside)) else []
        raise UserError(
            f"--input {uri} is not there{nearest(Path(uri).name, names)}: give the folder that "
            "holds the data set"
        )
    return found


def single_file(uri: str, wanted: str) -> File:
    """Find a file or an object by its URI.

    Args:
        uri: an absolute path, or s3://bucket/key.
        wanted: what a message tells the user to give.

    Raises:
        UserError: there is none.
    """
    above, _, name = uri.rpartition("/")
    if lake.is_s3(uri):
        # An object's size is in the listing of its prefix.
        sizes = {entry.name: entry.size for entry in lake.list_entries(above)}
        if name in sizes:
            return File(uri, name, sizes[name])
        beside = list(sizes)
    else:
        path = Path(uri)
        if path.is_file():
            return File(uri, name, path.stat().st_size)
        beside = [one.name for one in path.parent.iterdir()] if is_folder(above) else []
    raise UserError(f"--input {uri} is not there{nearest(name, beside)}: give {wanted}")


def by_folder(files: Iterable[tuple[str, int]]) -> dict[str, dict[str, int]]:
    """Group files (path, bytes) as folder -> file name -> bytes, without junk."""
    folders: dict[str, dict[str, int]] = {}
    sound: dict[str, bool] = {}
    for path, size in files:
        folder, _, name = path.rpartition("/")
        if folder not in sound:
            sound[folder] = not any(is_junk(part) for part in folder.split("/"))
        if sound[folder] and not is_junk(name):
            folders.setdefault(folder, {})[name] = size
    return folders


def is_junk(name: str) -> bool:
    """Say whether a system or a tool left this file or folder."""
    return _JUNK.fullmatch(name) is not None


def is_sidecar(name: str) -> bool:
    """Say whether the name of a file beside videos is not that of a video."""
    return _SIDECAR.fullmatch(name) is not None


def is_folder(uri: str) -> bool:
    """Say whether this is a folder on disk."""
    return not lake.is_s3(uri) and Path(uri).is_dir()


def decoded(data: bytes) -> str:
    """Decode the text of a list, with or without a byte order mark.

    Raises:
        UnicodeDecodeError: it is no text.
    """
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig")


def json_file(uri: str, data: bytes) -> Any:
    """Decode a JSON file.

    Raises:
        UserError: it is not JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{uri} is not JSON ({error}): mend or remove it") from error


def frames_in_order(names: Iterable[str]) -> list[str]:
    """List the pictures among the files of a video, by number.

    Raises:
        BadVideoError: a picture has no number, or two have the same.
    """
    numbers: dict[int, str] = {}
    for name in names:
        match = PICTURE.fullmatch(name)
        if match is None:
            if PICTURE.fullmatch("0." + name.rpartition(".")[2]):
                raise BadVideoError("has a picture whose name is no number", name)
            continue
        number = int(match.group(1))
        if number in numbers:
            raise BadVideoError("has two pictures of one number", f"{numbers[number]}, {name}")
        numbers[number] = name
    return [numbers[number] for number in sorted(numbers)]


def number_of(name: str) -> int:
    """Return the number of a frame, from its file's name."""
    return int(name.partition(".")[0])


def mismatch(source: str, found: Listing, expected: str) -> UserError:
    """Make the error for an input that is not in the requested layout."""
    paths = [
        f"{folder}/{name}" if folder else name
        for folder, files in found.folders.items()
        for name in files
    ]
    tops = {path.partition("/")[0] for path in paths} | set(_subfolders(found.uri))
    return UserError(
        f"--input {found.uri} has no videos in the layout {source}: expected {expected}, found "
        f"{first_few(tops) or 'nothing'}{_guess(source, found.uri, paths)}"
    )


def _guess(source: str, uri: str, paths: list[str]) -> str:
    """Suggest the flags that fit the files of the input."""
    for other, pattern in _LAYOUTS:
        for path in paths:
            # An input may itself be one of the folders that the pattern names.
            match = pattern.fullmatch(path)
            if match and (other != source or match.group(1)):
                below = match.group(1) if other != "videos" else ""
                return f"; try --source {other} --input {lake.join(uri, below or '').rstrip('/')}"
    return ""


def _subfolders(uri: str) -> list[str]:
    if not is_folder(uri):
        return []
    return [path.name for path in Path(uri).iterdir() if path.is_dir() and not is_junk(path.name)]
