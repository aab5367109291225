"""TensorBoard event files (`events.out.tfevents...`): the scalars, by their tags.

Read without TensorBoard, so that nothing more need be installed. A tag is a name like any other:
`train/loss`, `Loss/val`, `lr-AdamW`. Keras writes the validation under the same tags into a folder
of its own, `validation/`.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from watchdog.foreign_logs.entry import Entry
from watchdog.foreign_logs.events import EventFile
from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.log import ForeignLog

IS_FOREIGN = True

_MARK = b"brain.Event:"


class ValidationFile(EventFile):
    """An event file whose tags do not say that they are of the validation."""

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries of the file, their tags made to say so."""
        for entry in super().__iter__():
            values = {n if n == "global_step" else f"val/{n}": v for n, v in entry.values.items()}
            yield Entry(entry.number, values, entry.unit)


def recognises(head: bytes) -> Fit:
    """Whether the first event says which version of events these are."""
    return Fit.EXACT if _MARK in head[:64] else Fit.NO


def read(path: Path) -> ForeignLog:
    """Return the records of the file, read while they are iterated over."""
    kind = ValidationFile if path.parent.name == "validation" else EventFile
    return ForeignLog(path, kind(path))
