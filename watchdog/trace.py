"""The trace of a run: every record that was received, in order, so that all can be replayed.

Runs in: watchdog actor (writes the file); anywhere (reads it).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from watchdog.errors import TraceError
from watchdog.json_lines import Reading, drop_torn_end
from watchdog.records import Record, record_from_json

_log = logging.getLogger(__name__)


class TraceWriter:
    """Appends to one file; buffered, and handed to the operating system once a batch."""

    def __init__(self, path: Path) -> None:
        dropped = drop_torn_end(path)
        if dropped:
            _log.warning("dropped a half-written last line of %d bytes from %s", dropped, path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, records: Iterable[Record]) -> None:
        """Write a batch of records and flush it."""
        lines = [json.dumps(record.to_json()) + "\n" for record in records]
        if lines:
            self._file.write("".join(lines))
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(slots=True)
class Trace:
    """The records of a trace file; `count` and `is_torn` are known once they were all read."""

    path: Path
    count: int = 0
    is_torn: bool = False

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in order; a half-written last line is left out and noted.

        Raises:
            TraceError: the file cannot be read, or a line is not a record.
        """
        reading = Reading(self.path)
        for line in reading:
            self.count += 1
            try:
                record = record_from_json(line.data)
            except (KeyError, TypeError, ValueError) as error:
                raise TraceError(
                    f"line {line.number} of {self.path} is no record of a trace ({error!r}); "
                    "likely another format, or written by another version"
                ) from error
            yield record
        self.is_torn = reading.is_torn


def read_trace(path: Path) -> Trace:
    """Return the records of a trace, read while they are iterated over."""
    return Trace(path)
