"""JSON-lines files that may end in a half-written line, because a process was killed writing it.

Runs in: anywhere (reads and repairs files).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchdog.errors import TraceError
from watchdog.log_files import (
    MAX_LINE_BYTES,
    is_utf16,
    opened,
    read_head,
    text_lines,
    too_long,
)


@dataclass(frozen=True, slots=True)
class Line:
    """One object and the number of its line, from 1."""

    number: int
    data: dict[str, Any]


@dataclass(slots=True)
class Reading:
    """The lines of a file; `is_torn` is known once they were all read."""

    path: Path
    is_torn: bool = False

    def __iter__(self) -> Iterator[Line]:
        """Yield the objects in order; a half-written last line is left out and noted.

        Raises:
            TraceError: the file cannot be read, or another line than the last is not an object.
        """
        problem: TraceError | None = None
        for number, raw in enumerate(_raw_lines(self.path), start=1):
            if problem is not None:
                raise problem
            if not raw.strip():
                continue
            try:
                data = json.loads(raw)
            except (ValueError, RecursionError) as error:
                problem = _malformed(self.path, number, f"is not JSON ({error})")
                if raw.endswith(b"\n"):
                    raise problem from error
                continue
            if not isinstance(data, dict):
                raise _malformed(self.path, number, f"holds {type(data).__name__}, not an object")
            yield Line(number, data)
        self.is_torn = problem is not None


def drop_torn_end(path: Path) -> int:
    """Cut a half-written last line off a file that is about to be appended to; return its bytes."""
    if not path.exists():
        return 0
    with path.open("rb+") as file:
        data = file.read()
        kept = data.rfind(b"\n") + 1
        file.truncate(kept)
    return len(data) - kept


def _raw_lines(path: Path) -> Iterator[bytes]:
    if is_utf16(read_head(path, 2)):  # what a redirection in a Windows shell writes
        for text in text_lines(path):
            yield text.text.encode() + b"\n" * text.is_ended
        return
    with opened(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), start=1):
            if len(line) >= MAX_LINE_BYTES and not line.endswith(b"\n"):
                raise too_long(path, number)
            yield line


def _malformed(path: Path, number: int, what: str) -> TraceError:
    return TraceError(
        f"line {number} of {path} {what}; likely not a JSON-lines file, or edited by hand; name "
        "the format with --format if it is another one"
    )
