"""Plain JSON lines: `{"step", "epoch", "loss", "val_loss", "lr", "grad_norm", "val_metric"}`.

Any value may be null or absent; NaN and Infinity as Python's json writes them. A step that goes
back is a run that was resumed from an earlier checkpoint.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchdog.errors import TraceError
from watchdog.foreign import Row, records_of
from watchdog.json_lines import Line, Reading
from watchdog.records import Record

IS_FOREIGN = True

_FIELDS = ("epoch", "loss", "val_loss", "lr", "grad_norm", "val_metric")


def recognises(head: bytes) -> bool:
    """Whether the first line is an object with one of the known fields, and no record's kind."""
    try:
        first = json.loads(head.lstrip().split(b"\n", 1)[0])
    except ValueError:
        return False
    return isinstance(first, dict) and "kind" not in first and bool({"step", *_FIELDS} & set(first))


@dataclass(slots=True)
class JsonLines:
    """The records of one file; `count` (of lines) and `is_torn` are known once all were read."""

    path: Path
    count: int = 0
    is_torn: bool = False

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in order.

        Raises:
            TraceError: a line is malformed.
        """
        reading = Reading(self.path)
        yield from records_of(self.path.name, self._rows(reading))
        self.is_torn = reading.is_torn

    def _rows(self, reading: Reading) -> Iterator[Row]:
        for line in reading:
            self.count += 1
            yield _row(self.path, line)


def read(path: Path) -> JsonLines:
    """Return the records of the file, read while they are iterated over."""
    return JsonLines(path)


def _row(path: Path, line: Line) -> Row:
    values = {name: _number(path, line, line.data, name) for name in ("step", *_FIELDS)}
    step = values.pop("step")
    if step is not None and (step != step or abs(step) > 2**53):
        raise _malformed(path, line, f"has the step {step}")
    return Row(step=None if step is None else int(step), **values)


def _number(path: Path, line: Line, data: Mapping[str, Any], name: str) -> float | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _malformed(path, line, f"has {name}={value!r}, which is no number")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _malformed(path: Path, line: Line, what: str) -> TraceError:
    return TraceError(
        f"line {line.number} of {path} {what}; likely another format; name it with --format"
    )
