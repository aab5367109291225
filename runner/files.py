"""The files under one root on any pyarrow file system: written through a checksum, synced, moved.

Faults of storage on purpose are data: a drill sets `StorageFaults`, and what is written here obeys
it. Nothing else in the product knows that there are drills of storage.

Runs in: worker (writing), driver (listing).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec.core
import pyarrow
from pyarrow import fs

from watchdog.errors import CheckpointError

#: Chosen: large enough for a disk or a bucket to be read at its full rate.
_CHUNK_BYTES = 4 * 2**20


@dataclass(slots=True)
class StorageFaults:
    """What storage does on purpose; nothing by default. A drill sets it at any time.

    `room_bytes`: so many more bytes can be written, then every write ends like one on a full disk
    (ENOSPC); None gives the room back.
    """

    room_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What a file came to."""

    sha256: str
    size_bytes: int


class Files:
    """Reads and writes below `location`: a folder, or a URL that pyarrow or fsspec knows.

    Raises:
        CheckpointError: the location cannot be used.
    """

    def __init__(self, location: str, faults: StorageFaults | None = None) -> None:
        self.faults = faults or StorageFaults()
        self._fs, self.root = _open(location)
        self.is_local = isinstance(self._fs, fs.LocalFileSystem)

    def folders(self) -> list[str]:
        """Return the names of the folders directly under the root."""
        selector = fs.FileSelector(self.root, allow_not_found=True)
        found = self._fs.get_file_info(selector)
        return [info.base_name for info in found if info.type == fs.FileType.Directory]

    def has_file(self, path: str) -> bool:
        """Whether there is a file at a path below the root."""
        return bool(self._fs.get_file_info(self._at(path)).type == fs.FileType.File)

    def has_folder(self, path: str) -> bool:
        """Whether there is a folder at a path below the root."""
        return bool(self._fs.get_file_info(self._at(path)).type == fs.FileType.Directory)

    def make_folder(self, path: str) -> None:
        """Make an empty folder, and those above it; what was there is removed."""
        self.remove(path)
        self._fs.create_dir(self._at(path), recursive=True)

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[ChecksummedStream]:
        """Open a file for writing; on a local disk it is synced at the end.

        Raises:
            OSError: the storage refused (disk full, no permission, network).
        """
        with self._fs.open_output_stream(self._at(path)) as raw:
            stream = ChecksummedStream(raw, self.faults)
            try:
                yield stream
            except RuntimeError as error:  # torch wraps what the stream raised, or drops it
                raise stream.error or error from error
            if stream.error is not None:
                raise stream.error
        if self.is_local:
            _sync(self._at(path))

    def write(self, path: str, fill: Callable[[ChecksummedStream], object]) -> Written:
        """Write a file by `fill(stream)`; return what it came to.

        Raises:
            OSError: the storage refused.
        """
        with self.writing(path) as stream:
            fill(stream)
        return stream.written()

    def write_json(self, path: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file that is there whole or not at all.

        Raises:
            OSError: the storage refused.
        """
        data = json.dumps(value, indent=1).encode()
        partial = f"{path}.partial" if self.is_local else path
        try:
            self.write(partial, lambda stream: stream.write(data))
            if self.is_local:
                self.move(partial, path)
        except OSError:
            if self.is_local and self.has_file(partial):
                self._fs.delete_file(self._at(partial))
            raise

    def open(self, path: str) -> Any:
        """Return a file open for reading at any position.

        Raises:
            OSError: it cannot be opened.
        """
        return self._fs.open_input_file(self._at(path))

    def read(self, path: str) -> bytes:
        """Return a file's bytes.

        Raises:
            OSError: it cannot be read.
        """
        with self.open(path) as stream:
            return bytes(stream.read())

    def checksum(self, path: str) -> Written:
        """Return what a file comes to now, read piece by piece.

        Raises:
            OSError: it cannot be read.
        """
        digest, size = hashlib.sha256(), 0
        with self.open(path) as stream:
            while piece := stream.read(_CHUNK_BYTES):
                digest.update(piece)
                size += len(piece)
        return Written(digest.hexdigest(), size)

    def move(self, source: str, target: str) -> None:
        """Rename a file or a folder; on a local disk the change is synced when this returns."""
        self._fs.move(self._at(source), self._at(target))
        if self.is_local:
            _sync(str(Path(self._at(target)).parent))

    def remove(self, path: str) -> None:
        """Delete a folder with all that is in it, if it is there."""
        if self.has_folder(path):
            self._fs.delete_dir(self._at(path))

    def remove_file(self, path: str) -> None:
        """Delete a file.

        Raises:
            OSError: it is not there.
        """
        self._fs.delete_file(self._at(path))

    def _at(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root


class ChecksummedStream(io.RawIOBase):
    """A stream to write to that counts, hashes, and runs out of room when a drill says so.

    It keeps the first error of the file system, because what writes into it may hide it.
    """

    def __init__(self, raw: Any, faults: StorageFaults) -> None:
        super().__init__()
        self._raw = raw
        self._faults = faults
        self._digest = hashlib.sha256()
        self._size = 0
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Write all of `data`."""
        piece = bytes(data)
        try:
            self._spend(len(piece))
            self._raw.write(piece)
        except OSError as error:
            self.error = self.error or error
            raise
        self._digest.update(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._size

    def written(self) -> Written:
        """Return what was written."""
        return Written(self._digest.hexdigest(), self._size)

    def _spend(self, size: int) -> None:
        room = self._faults.room_bytes
        if room is None:
            return
        if size > room:
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (on purpose)")
        self._faults.room_bytes = room - size


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that there is no room left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def _open(location: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a place and the path in it: pyarrow's own, else any of fsspec's."""
    if "://" not in location:
        return fs.LocalFileSystem(), str(Path(location).resolve())
    try:
        try:
            filesystem, path = fs.FileSystem.from_uri(location)
        except pyarrow.ArrowInvalid:  # a scheme pyarrow does not know
            other, path = fsspec.core.url_to_fs(location)
            filesystem = fs.PyFileSystem(fs.FSSpecHandler(other))
    except (OSError, ValueError, ImportError) as error:
        raise CheckpointError(
            f"cannot use {location} for checkpoints: {error}; the place is set by checkpoints.path"
        ) from error
    return filesystem, path.rstrip("/")


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
