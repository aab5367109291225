"""Entries out of a text log: lines that hold a loss, a validation or a gradient norm.

A line that says only where the run is (`Epoch 3/50`) counts for the lines after it: the epoch until
the next one, the step for one line. Progress bars that overwrite their line are read as lines.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from watchdog.foreign_logs.entry import Entry
from watchdog.foreign_logs.names import POSITION_FIELDS, Field, meaning
from watchdog.foreign_logs.phrases import named_numbers
from watchdog.log_files import text_lines

#: What a terminal does to a line: going back, colours, erasing.
_OVERWRITTEN = re.compile(r"[\r\b\x85]+")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class TextLog:
    """The entries of one text log; `is_torn` is known once all were read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._epoch: dict[str, float] = {}
        self._step: dict[str, float] = {}
        self.is_torn = False

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in order; lines that say nothing are passed over.

        Raises:
            TraceError: the file cannot be read.
        """
        usual: set[frozenset[str]] = set()
        for line in text_lines(self._path):
            for text in _OVERWRITTEN.split(_COLOURS.sub("", line.text)):
                values = named_numbers(text)
                names = frozenset(values)
                if not line.is_ended and any(names < known for known in usual):
                    self.is_torn = True
                    continue
                if not is_telling(values):
                    self._carry(values)
                    continue
                if len(usual) < 64:  # the kinds of lines of a log are few
                    usual.add(names)
                yield Entry(line.number, self._placed(values))

    def _carry(self, values: Mapping[str, float]) -> None:
        """Keep where the run is, from a line that says nothing else."""
        for name, value in values.items():
            known = meaning(name)
            if known is not None and known.field is Field.EPOCH:
                self._epoch = {"epoch": value}
            elif known is not None and known.field is Field.STEP:
                self._step = {"step": value}

    def _placed(self, values: Mapping[str, float]) -> dict[str, float]:
        fields = {known.field for name in values if (known := meaning(name)) is not None}
        placed = dict(values)
        if Field.STEP not in fields and Field.EPOCH not in fields:
            placed = {**self._step, **placed}
        if Field.EPOCH not in fields:
            placed = {**self._epoch, **placed}
        else:
            self._carry(values)
        self._step = {}
        return placed


def is_telling(values: Mapping[str, float]) -> bool:
    """Whether a line says how the run goes, not only where it is or at which rate."""
    fields = {known.field for name in values if (known := meaning(name)) is not None}
    return bool(fields - POSITION_FIELDS - {Field.LR})
