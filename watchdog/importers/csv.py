"""Tables in CSV, as pandas and loggers of one's own write them; commas, semicolons, tabs or bars.

A column may be called `loss`, `train_loss`, `lr`, `learning_rate`, `val_acc`, `valLoss` and so on.
A cell that is empty was not logged. pandas writes NaN as nothing unless told `na_rep="nan"`, and
what was not written cannot be judged.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from pathlib import Path

from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.log import ForeignLog
from watchdog.foreign_logs.names import POSITION_FIELDS, Field, meaning
from watchdog.foreign_logs.tables import Table, header_of

IS_FOREIGN = True


def recognises(head: bytes) -> Fit:
    """Whether the first line is one of names, and one of them says how the run goes.

    A rate alone does not: tables of experiments have one.
    """
    found = {known.field for name in header_of(head) if (known := meaning(name)) is not None}
    return Fit.GENERAL if found - POSITION_FIELDS - {Field.LR} else Fit.NO


def read(path: Path) -> ForeignLog:
    """Return the records of the table, read while they are iterated over."""
    return ForeignLog(path, Table(path))
