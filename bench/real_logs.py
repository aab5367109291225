"""The labelled real logs beside the checkout, read into plain rows and split into two halves.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchdog.foreign import Row, records_of
from watchdog.records import Record

#: Labels that call for an act, as the logs' own README says; others may be told at most.
ACTIONABLE = frozenset({"nan", "divergence", "spike_unrecovered", "plateau", "dead_loss"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One run: its rows, and what a person saw in it. `onset_step` is -1 where nothing is wrong."""

    id: str
    repo: str
    label: str
    certainty: str
    onset_step: int
    rows: tuple[Row, ...]

    @property
    def half(self) -> str:
        """Return the half of the sources it belongs to, the same for all logs of one source."""
        digest = hashlib.sha256(self.repo.encode()).digest()
        return "held-out" if digest[0] % 2 else "tuning"

    @property
    def is_excerpt(self) -> bool:
        """Whether it is a few lines out of an issue: a format fixture, not statistics."""
        return self.id.startswith("iss_")

    @property
    def losses(self) -> list[float]:
        """Return the logged training losses, NaN included."""
        return [row.loss for row in self.rows if row.loss is not None]


def read_logs(folder: Path) -> list[Log]:
    """Return all logs that `folder/manifest.csv` names.

    Raises:
        OSError: the folder or one of its files cannot be read.
    """
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return [
        Log(
            id=line["id"],
            repo=line["repo"],
            label=line["label"],
            certainty=line["certainty"],
            onset_step=int(line["onset_step"]),
            rows=tuple(_rows(folder / "runs" / f"{line['id']}.jsonl.gz")),
        )
        for line in lines
    ]


def records(log: Log, rows: Sequence[Row] | None = None) -> Iterator[Record]:
    """Yield the records of a log, or of other rows under its name."""
    return records_of(log.id, log.rows if rows is None else rows)


def _rows(path: Path) -> Iterator[Row]:
    names = ("step", "epoch", "loss", "val_loss", "lr", "grad_norm", "val_metric")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            data: dict[str, Any] = json.loads(line)
            yield Row(**{name: data.get(name) for name in names})


def is_finite(value: float | None) -> bool:
    """Whether a value was logged and is a number."""
    return value is not None and math.isfinite(value)
