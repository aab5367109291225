"""A foreign log: entries as a format's reader found them, on their way to becoming records.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchdog.foreign import records_of
from watchdog.foreign_logs.columns import rows_of
from watchdog.foreign_logs.entry import Entry
from watchdog.records import Record


class Entries(Protocol):
    """What a format's reader yields; `is_torn` is known once all were read."""

    @property
    def is_torn(self) -> bool:
        """Whether the last line was half-written and left out."""
        ...

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in order."""
        ...


@dataclass(slots=True)
class ForeignLog:
    """The records of one file; `count` (of entries) and `is_torn` are known once all were read."""

    path: Path
    entries: Entries
    count: int = 0

    @property
    def is_torn(self) -> bool:
        """Whether the last line was half-written and left out."""
        return self.entries.is_torn

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in order.

        Raises:
            TraceError: the file cannot be read, or an entry is malformed.
        """
        yield from records_of(self.path.name, rows_of(self.path, self._counted()))

    def _counted(self) -> Iterator[Entry]:
        for entry in self.entries:
            self.count += 1
            yield entry
