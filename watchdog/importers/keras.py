"""Keras' CSVLogger: `epoch,accuracy,loss,val_accuracy,val_loss`, one line an epoch, from 0.

A value that an epoch lacks is written `NA`. With `append=True` a resumed run goes on below, without
names of its own, and its epochs may go back.

Source: keras-team/keras, keras/src/callbacks/csv_logger.py.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from pathlib import Path

from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.log import ForeignLog
from watchdog.foreign_logs.tables import Table, header_of

IS_FOREIGN = True


def recognises(head: bytes) -> Fit:
    """Whether the names are `epoch` and then sorted ones, `loss` among them."""
    names = header_of(head)
    is_keras = names[:1] == ("epoch",) and "loss" in names and "step" not in names
    return Fit.EXACT if is_keras and list(names[1:]) == sorted(names[1:]) else Fit.NO


def read(path: Path) -> ForeignLog:
    """Return the records of the table, read while they are iterated over."""
    return ForeignLog(path, Table(path))
