"""Ultralytics' `results.csv` (YOLO): one line an epoch, the names padded with blanks until 2024.

`train/box_loss` and the other terms of the training loss are summed, and those of `val/` likewise;
the metric is `metrics/mAP50-95(B)`, or the best known of the others; the rate is that of the first
group. Older versions count epochs from 0. The last line of a run without validation lacks columns
in the middle and is left out.

Source: ultralytics/ultralytics, ultralytics/engine/trainer.py, save_metrics.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from pathlib import Path

from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.log import ForeignLog
from watchdog.foreign_logs.tables import Table, header_of

IS_FOREIGN = True


def recognises(head: bytes) -> Fit:
    """Whether the first name is `epoch` and others are terms of `train/`."""
    names = header_of(head)
    has_terms = any(name.startswith("train/") and name.endswith("loss") for name in names)
    return Fit.EXACT if names[:1] == ("epoch",) and has_terms else Fit.NO


def read(path: Path) -> ForeignLog:
    """Return the records of the table, read while they are iterated over."""
    return ForeignLog(path, Table(path, may_be_short=True))
