"""Plain JSON lines: `{"step", "epoch", "loss", "val_loss", "lr", "grad_norm", "val_metric"}`.

Any value may be null or absent; NaN and Infinity as Python's json writes them. A step that goes
back is a run that was resumed from an earlier checkpoint. Other names for the same things are
known too (`current_steps`, `total_loss`, `train/loss`, `eval_wer`), so that the logs of
LLaMA-Factory, Detectron2 and Weights & Biases are read as well. So is one list of such objects in
place of lines.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from pathlib import Path

from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.json_entries import (
    JsonArray,
    JsonEntries,
    first_objects,
    names_in_array,
)
from watchdog.foreign_logs.log import ForeignLog
from watchdog.foreign_logs.names import meaning
from watchdog.log_files import read_head

IS_FOREIGN = True

#: Chosen: enough for the names of the first object of a list.
_HEAD_BYTES = 4096


def recognises(head: bytes) -> Fit:
    """Whether the first lines are objects, one of them with a known name and none with a kind."""
    if any(meaning(name) is not None for name in names_in_array(head)):
        return Fit.GENERAL
    objects = first_objects(head)
    is_known = any(meaning(name) is not None for found in objects for name in found)
    return Fit.GENERAL if is_known and "kind" not in objects[0] else Fit.NO


def read(path: Path) -> ForeignLog:
    """Return the records of the file; lines are read while they are iterated over."""
    is_array = bool(names_in_array(read_head(path, _HEAD_BYTES)))
    return ForeignLog(path, JsonArray(path) if is_array else JsonEntries(path))
