"""Creates a file exclusively: a whole file gets its name, unless the name is taken.

File systems differ in what they support, so there are three ways. Each is one atomic step that the
file system does or refuses: of several writers one wins, and nobody ever sees a partial file.

    a hard link                               most file systems
    a rename that does not replace            SMB, exFAT
    a symbolic link to the file beside it,
    which the file itself replaces then       gcsfuse, s3fs: no hard links, and no such rename

A writer that is killed between the two steps of the last way leaves the link and its target, which
is whole: readers follow it. A reader at that very moment may follow a link whose target has just
become the file itself, and looks again.
"""

import ctypes
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from data_pipeline.cli.command import UserError

T = TypeVar("T")

PART = ".part"  # ends the name of a file that is being written: not a file yet

_SETTLES_S = 5.0  # in which a rename is seen by everybody; FUSE remembers names for 1 s by default
_CURRENT_FOLDER = -100  # AT_FDCWD of Linux
_NO_REPLACE = 1  # RENAME_NOREPLACE

# Errors of following a link whose target has just replaced it; errors of a missing file.
_OVERTAKEN = {errno.ENOENT, errno.EINVAL}
_NOTHING = {errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP, errno.EINVAL}

# Errors of file systems for what they do not support.
CANNOT = {
    errno.EINVAL,
    errno.EMLINK,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EXDEV,
}


def give_name(part: Path, target: Path) -> None:
    """Give a whole file its name; `part` lies beside `target` and is not needed afterwards.

    Raises:
        FileExistsError: there is something of that name; nothing is changed.
        FileNotFoundError: `part` is gone.
        UserError: the file system supports none of the ways, or the name is a broken link.
    """
    for way in (_by_hard_link, _by_rename, _by_symbolic_link):
        try:
            return way(part, target)
        except FileExistsError as error:
            if not is_there(target):
                raise UserError(
                    f"{target} is a broken link: delete it, and run the same command again"
                ) from error
            raise
        except OSError as error:
            if error.errno not in CANNOT | {errno.EPERM}:
                raise
            why = error.strerror
    raise UserError(
        f"{target}: the file system there has no hard links, no renames that do not replace and no "
        f"symbolic links ({why}): give another place, or s3://bucket/key; "
        "data_pipeline/README.md says what storage must be able to do"
    )


def followed(path: Path, ask: Callable[[], T]) -> T:
    """Return what `ask` finds at `path`; retry where it followed a link that is being replaced.

    Raises:
        FileNotFoundError: there is nothing of that name, or a broken link.
    """
    end_s = time.monotonic() + _SETTLES_S
    while True:
        try:
            return ask()
        except OSError as error:
            if error.errno not in _OVERTAKEN or not _settles(path) or time.monotonic() > end_s:
                raise
        time.sleep(_SETTLES_S / 500)


def is_there(path: Path) -> bool:
    """Say whether there is something of that name; a broken link is nothing."""
    try:
        return bool(followed(path, path.stat))
    except OSError as error:
        if error.errno not in _NOTHING:
            raise
        return False


def _settles(path: Path) -> bool:
    """Say whether a broken link is about to be replaced by a file."""
    try:
        return path.readlink().name.endswith(PART)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # no link any more
        return True


def leads_to(target: Path, part: Path) -> bool:
    """Say whether `target` is a link to `part` that was not replaced by it, or cannot be read."""
    try:
        return target.readlink() == Path(part.name)
    except OSError as error:
        return error.errno not in _NOTHING  # EINVAL: it is no link


def _by_hard_link(part: Path, target: Path) -> None:
    try:
        os.link(part, target)
    except FileExistsError:
        # A network file system may link, lose the answer and ask again.
        if part.stat().st_nlink == 1:
            raise


def _by_rename(part: Path, target: Path) -> None:
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError as error:  # another system than Linux, or a library that lacks it
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from error
    names = os.fsencode(part), os.fsencode(target)
    if rename(_CURRENT_FOLDER, names[0], _CURRENT_FOLDER, names[1], _NO_REPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def _by_symbolic_link(part: Path, target: Path) -> None:
    target.symlink_to(part.name)
    try:
        part.replace(target)
    except FileNotFoundError:  # somebody tidied up before there was the link
        target.unlink()
        raise
