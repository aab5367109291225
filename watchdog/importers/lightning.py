"""Lightning's CSVLogger: `metrics.csv` with `step`, `epoch` and a column a logged name.

Lines are sparse: a line of training has no validation, and of `train_loss_step` and
`train_loss_epoch` at most one. The step is judged, unless it was hardly ever logged. Steps count
from 0 over the whole run, and those of a validation are those of the training.

Source: Lightning-AI/pytorch-lightning, src/lightning/fabric/loggers/csv_logs.py.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import re
from pathlib import Path

from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.log import ForeignLog
from watchdog.foreign_logs.tables import Table, header_of

IS_FOREIGN = True

#: What `log(on_step, on_epoch)`, LearningRateMonitor and the usual names of modules give.
_OURS = re.compile(r".*_step|.*_epoch|lr-\w+.*|grad_\d.*_norm.*|(train|val|test)[_/].+|.*loss.*")


def recognises(head: bytes) -> Fit:
    """Whether there are columns for step and epoch, and one that Lightning might have named."""
    names = set(header_of(head))
    others = names - {"step", "epoch"}
    is_indexed = {"step", "epoch"} <= names
    return Fit.EXACT if is_indexed and any(map(_OURS.fullmatch, others)) else Fit.NO


def read(path: Path) -> ForeignLog:
    """Return the records of the table, read while they are iterated over."""
    return ForeignLog(path, Table(path))
