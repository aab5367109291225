"""Our own trace: what the watchdog of a run was told, recoveries included.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

from pathlib import Path

from watchdog.foreign_logs.fit import Fit
from watchdog.foreign_logs.json_entries import first_objects
from watchdog.records import RECORD_TYPES
from watchdog.trace import Trace, read_trace

IS_FOREIGN = False


def recognises(head: bytes) -> Fit:
    """Whether the first line is a record with its kind."""
    objects = first_objects(head)
    is_record = bool(objects) and objects[0].get("kind") in list(RECORD_TYPES)
    return Fit.EXACT if is_record else Fit.NO


def read(path: Path) -> Trace:
    """Return the records of the trace."""
    return read_trace(path)
