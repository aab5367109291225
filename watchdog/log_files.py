"""Opens somebody else's log: gzipped or not, in UTF-8 or UTF-16, with bounded lines.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from watchdog.errors import TraceError

#: Chosen: four times the longest line of the logs tried (a record with 65,536 sample ids is 1 MB).
MAX_LINE_BYTES = 2**22

_GZIP_MAGIC = b"\x1f\x8b"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line without its end, its number from 1, and whether it had an end at all."""

    number: int
    text: str
    is_ended: bool


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, unpacked if it is gzipped.

    Raises:
        TraceError: it cannot be read, now or while the block reads on.
    """
    try:
        with path.open("rb") as probe:
            is_packed = probe.read(2) == _GZIP_MAGIC
        with gzip.open(path, "rb") if is_packed else path.open("rb") as file:
            yield file  # type: ignore[misc]  # GzipFile is a binary reader in all but name
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(
            f"cannot read {path}: {error}; likely a wrong path, or a damaged or foreign file"
        ) from error


def read_head(path: Path, size_bytes: int) -> bytes:
    """Return the first bytes of a file.

    Raises:
        TraceError: it cannot be read.
    """
    with opened(path) as file:
        return file.read(size_bytes)


def decoded(head: bytes) -> str:
    """Return the text of the first bytes of a file; what is no text is replaced."""
    return head.decode(_encoding(head), errors="replace").lstrip("\ufeff")


def text_lines(path: Path) -> Iterator[TextLine]:
    """Yield the lines of a text file; what is no text is replaced.

    Raises:
        TraceError: it cannot be read, or a line is longer than `MAX_LINE_BYTES`.
    """
    with opened(path) as file:
        encoding = _encoding(file.read(4))
        file.seek(0)
        text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="\n")
        for number, line in enumerate(iter(lambda: text.readline(MAX_LINE_BYTES), ""), start=1):
            is_ended = line.endswith("\n")
            if not is_ended and len(line) >= MAX_LINE_BYTES:
                raise too_long(path, number)
            yield TextLine(number, line.strip("\ufeff\r\n"), is_ended)


def too_long(path: Path, number: int) -> TraceError:
    """Return the error of a line that nobody can have meant as one."""
    return TraceError(
        f"line {number} of {path} is longer than {MAX_LINE_BYTES} bytes; likely not a log of this "
        "format; name the right one with --format"
    )


def is_utf16(head: bytes) -> bool:
    """Whether a file says with its first bytes that it is UTF-16."""
    return head.startswith(_UTF16)


def _encoding(head: bytes) -> str:
    return "utf-16" if is_utf16(head) else "utf-8"
