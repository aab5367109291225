"""Follows a file that another process writes, in bounded bites, and knows when it was replaced.

A mirror of a run on another machine may be renamed into place anew at each update: as long as it
still holds what was read before, reading goes on where it was.

Runs in: driver.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

#: Chosen: a thousand records; read and taken in well within one redraw.
MAX_BITE_BYTES = 1 << 20
#: How much of what was read last is compared, to know the file again.
_MARK_BYTES = 64

Line = dict[str, Any]


class FollowedFile:
    """Yields the objects of a JSON-lines file as they come; lines that are none are counted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._mark = b""
        self._skips_line = False
        self.has_more = False  # whether the last bite left something
        self.restarts = 0  # how often the file was found to be another one
        self.bad_lines = 0

    def start_at(self, offset: int) -> None:
        """Leave out what lies before `offset`, and the line that it falls into."""
        self._offset, self._mark, self._skips_line = max(0, offset), b"", offset > 0

    def new_lines(self, max_bytes: int = MAX_BITE_BYTES) -> list[Line]:
        """Return what was completed since the last call, of `max_bytes` at most."""
        try:
            with self._path.open("rb") as file:
                return self._bite(file, max_bytes)
        except OSError:
            self.has_more = False
            return []

    def _bite(self, file: BinaryIO, max_bytes: int) -> list[Line]:
        size_bytes = os.fstat(file.fileno()).st_size
        if not self._is_same(file, size_bytes):
            self.start_at(0)
            self.restarts += 1
        file.seek(self._offset)
        content = file.read(max_bytes)
        end = content.rfind(b"\n") + 1
        if end == 0 and len(content) == max_bytes:
            # A line longer than a bite is no record: what is left of it is passed over too.
            self._skips_line, end = True, len(content)
            self.bad_lines += 1
            whole = b""
        else:
            whole = content[:end]
            if self._skips_line and end:
                whole = whole[whole.find(b"\n") + 1 :]
                self._skips_line = False
        self._offset += end
        self._mark = (self._mark + content[:end])[-_MARK_BYTES:]
        self.has_more = end > 0 and self._offset < size_bytes
        return list(self._objects(whole))

    def _is_same(self, file: BinaryIO, size_bytes: int) -> bool:
        """Whether the file still holds what was read of it last."""
        if size_bytes < self._offset:
            return False
        file.seek(self._offset - len(self._mark))
        return file.read(len(self._mark)) == self._mark

    def _objects(self, content: bytes) -> Iterator[Line]:
        for line in content.split(b"\n"):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                yield value
            else:
                self.bad_lines += 1


def sampled_lines(path: Path, *, spots: int, spot_bytes: int) -> Iterator[Line]:
    """Yield the objects found at `spots` evenly spaced places of a file, in its order.

    What a long file was about is known from a thousandth of it.
    """
    try:
        size_bytes = path.stat().st_size
    except OSError:
        return
    for spot in range(spots):
        taste = FollowedFile(path)
        taste.start_at(size_bytes * spot // spots)
        yield from taste.new_lines(spot_bytes)
