"""Opens the files of one data set: on disk, on S3, or cached on this node."""

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from data_pipeline.cli.command import UserError
from data_pipeline.format.manifest import File
from data_pipeline.read.cache import CorruptData, NodeCache
from data_pipeline.storage import lake
from data_pipeline.storage.lake import DiskFull


@final
@dataclass(frozen=True, slots=True)
class Files:
    """The files of a data set. Safe in threads and in forked processes.

    A file that does not fit on the disk of the cache is read from its store.
    """

    uri: str
    """URI of the data set."""
    payload: Mapping[str, File]
    """Size and hash of each file, by its path below the data set."""
    cache: NodeCache | None
    """Cache to copy them to first; None reads in place."""

    def read(self, path: str, start: int, size: int) -> bytes:
        """Read `size` bytes from byte `start`, fewer where the file ends; they are not checked.

        Raises:
            CorruptData: there is no such file.
        """
        with self._there(path):
            if self.cache is not None:
                with suppress(DiskFull), self._copy(self.cache, path) as file:
                    return os.pread(file.fileno(), size, start)
            return lake.read_range(self._uri_of(path), start, size)

    def open(self, path: str) -> io.BufferedIOBase:
        """Open a whole file, verified by its hash. From S3 without a cache it is held in memory.

        Raises:
            CorruptData: it is not the file that the manifest names.
        """
        for _ in self.tries(path):
            file = self._open(path)
            if hashlib.file_digest(file, "sha256").hexdigest() == self.payload[path].sha256:
                file.seek(0)
                return file
            file.close()
        raise CorruptData(
            f"{self._uri_of(path)} is not the file that its manifest names: run `verify` and "
            "restore it"
        )

    def tries(self, path: str) -> Iterator[None]:
        """Yield for a try to read a file; then drop a cached copy and yield again.

        The caller leaves the loop as soon as what it read is verified.
        """
        yield
        if self.cache is not None:
            self.cache.drop(self.payload[path].sha256)
            yield

    def _open(self, path: str) -> io.BufferedIOBase:
        uri = self._uri_of(path)
        with self._there(path):
            if self.cache is not None:
                with suppress(DiskFull):
                    return self._copy(self.cache, path)
            return io.BytesIO(lake.read_bytes(uri)) if lake.is_s3(uri) else Path(uri).open("rb")

    def _copy(self, cache: NodeCache, path: str) -> io.BufferedIOBase:
        file = self.payload[path]
        return cache.open(self._uri_of(path), file.sha256, file.size)

    def _uri_of(self, path: str) -> str:
        return lake.join(self.uri, path)

    @contextmanager
    def _there(self, path: str) -> Iterator[None]:
        """Translate errors of a file that cannot be read at all."""
        uri = self._uri_of(path)
        try:
            yield
        except FileNotFoundError as error:
            raise CorruptData(f"{uri} is missing, but the manifest names it: restore it") from error
        except PermissionError as error:
            raise UserError(f"{uri} cannot be read ({error.strerror}): ask for access") from error
