"""Files of a command that reads footage and writes it: where they are, and what may be written."""

import os
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from data_pipeline.cli.command import UserError
from data_pipeline.sources.video_files import local_file
from data_pipeline.storage import disk, lake


@contextmanager
def local_footage(name: str) -> Iterator[Path]:
    """A video file or a folder of pictures on disk; what comes from a store is there until the end.

    Args:
        name: a path, an s3:// URI of a file, or wheel:PACKAGE/FILE.

    Raises:
        UserError: it is not there.
    """
    if not lake.is_s3(name):
        yield Path(name) if Path(name).is_dir() else local_file(name)
        return
    if not lake.exists(name):
        raise UserError(f"{name} is not there")
    with lake.local_copy(name) as path:
        yield path


def check_outputs(outputs: Mapping[str, Path], inputs: Mapping[str, str | Path]) -> None:
    """Refuse to write where nothing can be written, or over what is read or written otherwise.

    Args:
        outputs: files or folders to write, by their names on the command line.
        inputs: what is read, likewise; what is not on disk (boxes, say) is passed over.

    Raises:
        UserError: a folder is missing or cannot be written, two of the names lead to one file, or
            something that cannot be replaced is there.
        DiskFull: there is no room.
    """
    read = {what: Path(name) for what, name in inputs.items() if name and is_there(name)}
    for number, (what, path) in enumerate(outputs.items()):
        with disk.writing(path):
            _check_place(what, path)
            for other, there in read.items():
                if path.exists() and path.samefile(there):
                    raise UserError(f"{what} is the input {other} {there}: give another name")
            for other, there in list(outputs.items())[:number]:
                if _one_file(path, there):
                    raise UserError(f"{other} and {what} are both {path}: give two names")
            _check_replaceable(what, path)
            _check_writable(real(path))


def is_there(name: str | Path) -> bool:
    """Return True when a file is there; a name may be one that no file can have."""
    try:
        return Path(name).exists()
    except OSError:
        return False


def _check_place(what: str, path: Path) -> None:
    if str(path) == "-":
        raise UserError(f"{what} is '-', but no stream can be written: give the name of a file")
    if not real(path).parent.is_dir():
        if lake.is_s3(str(path).replace(":/", "://", 1)):  # a Path has no double slash
            raise UserError(f"{what} {path} is in a store, and is written to disk: give a path")
        raise UserError(f"{path}: its folder is not there; make it first")


def _check_replaceable(what: str, path: Path) -> None:
    if path.is_dir():
        raise UserError(f"{what} {path} is a folder that is there already: give another name")
    if path.exists() and not path.is_file():
        raise UserError(f"{what} {path} is a pipe or a device: give the name of a file")
    if path.exists() and not path.suffix:
        raise UserError(f"{what} {path} is to be a folder, and a file is there: give another name")


def _check_writable(path: Path) -> None:
    """Find out by making an empty file beside it, and asking for one of its name."""
    path.exists()  # OSError for a name that is too long
    part = disk.part_beside(path)
    try:
        part.touch(exist_ok=False)
    except FileNotFoundError as error:  # its folder is there, and takes no files: of /proc, say
        raise UserError(
            f"{path} cannot be written ({error.strerror}): give a place you may write to"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _one_file(one: Path, other: Path) -> bool:
    """Return True when two names are one file, now or when written: some disks ignore case."""
    if one.exists() or other.exists():
        return one.exists() and other.exists() and one.samefile(other)
    one, other = real(one), real(other)
    return one.parent.samefile(other.parent) and one_name(one.name) == one_name(other.name)


def one_name(name: str) -> str:
    """Return what is equal for two names that some disks take for one."""
    return unicodedata.normalize("NFKC", name).casefold()


def real(path: Path) -> Path:
    """Where a name leads, also one that leads nowhere yet: a link is written through."""
    return Path(os.path.realpath(path))
