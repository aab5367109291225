"""Tables of numbers under a line of names: CSV, with commas, semicolons, tabs or bars.

A table may be appended to by a resumed run, with its names said again. A line that starts with #
before the names is a comment. An empty cell was not logged; `nan` was NaN.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from watchdog.errors import TraceError
from watchdog.foreign_logs.entry import Entry, malformed
from watchdog.foreign_logs.names import meaning
from watchdog.foreign_logs.numbers import number
from watchdog.foreign_logs.phrases import named_numbers
from watchdog.log_files import decoded, text_lines

_DELIMITERS = ",;\t|"
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")


def header_of(head: bytes) -> tuple[str, ...]:
    """Return the names at the start of a file, () if its first line is no line of names."""
    for line in decoded(head).splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        is_prose = "{" in line or named_numbers(line)
        names = [] if is_prose else _cells(line, _delimiter(line))
        are_names = all(not name or not _is_number(name) for name in names)
        return tuple(names) if are_names else ()
    return ()


class Table:
    """The entries of one table; `is_torn` is known once all were read.

    `may_be_short` leaves lines with too few cells out, where a format is known to write them.
    """

    def __init__(self, path: Path, *, may_be_short: bool = False) -> None:
        self._path = path
        self._may_be_short = may_be_short
        self.is_torn = False

    def __iter__(self) -> Iterator[Entry]:
        """Yield the lines as entries, by the names above them.

        Raises:
            TraceError: the file cannot be read, has no names, or a line does not fit them.
        """
        names: Sequence[str] = ()
        delimiter = ","
        for line in text_lines(self._path):
            if not line.text.strip() or (not names and line.text.lstrip().startswith("#")):
                continue
            if not names:
                delimiter = _delimiter(line.text)
                names = self._names(line.text, delimiter)
                continue
            cells = _cells(line.text, delimiter)
            if _are_names(cells):
                names = cells
                continue
            entry = self._entry(line.number, names, cells, delimiter)
            if entry is not None and (line.is_ended or _is_readable(entry)):
                yield entry
            elif not line.is_ended:
                self.is_torn = True
            elif not self._may_be_short:
                what = f"has {len(cells)} values for {len(names)} names"
                raise malformed(self._path, Entry(line.number, {}), what)

    def _names(self, text: str, delimiter: str) -> list[str]:
        names = _cells(text, delimiter)
        if not any(meaning(name) for name in names):
            raise TraceError(
                f"no column of {self._path} is a step, a loss, a rate or a metric: its first line "
                f"is {text[:80]!r}; likely another format; name the right one with --format"
            )
        return names

    def _entry(
        self, line: int, names: Sequence[str], cells: Sequence[str], delimiter: str
    ) -> Entry | None:
        """Return the entry of a line; None if it does not have a cell for each name."""
        spare = cells[len(names) :]
        if len(cells) < len(names) or any(spare):
            return None
        if delimiter == ";":
            cells = [c.replace(",", ".") if _DECIMAL_COMMA.fullmatch(c) else c for c in cells]
        return Entry(line, {n: c for n, c in zip(names, cells, strict=False) if n})


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _cells(line: str, delimiter: str) -> list[str]:
    """Return the cells of one line, without the blanks that pad them."""
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # a cell larger than the csv module takes: text, hence no number of ours
        return [cell.strip() for cell in line.split(delimiter)]


def _are_names(cells: Sequence[str]) -> bool:
    """Whether a line repeats the names, because a resumed run wrote them again."""
    are_texts = all(cell and not _is_number(cell) for cell in cells)
    return are_texts and any(meaning(cell) for cell in cells)


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True


def _is_readable(entry: Entry) -> bool:
    """Whether every value with a meaning is a number; a line without an end may be cut in one."""
    return all(_is_number(v) for n, v in entry.values.items() if meaning(n) is not None)
