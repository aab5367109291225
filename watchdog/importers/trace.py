"""Our own trace: what the watchdog of a run was told, recoveries included.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import json
from pathlib import Path

from watchdog.records import RECORD_TYPES
from watchdog.trace import Trace, read_trace

IS_FOREIGN = False


def recognises(head: bytes) -> bool:
    """Whether the first line is a record with its kind."""
    try:
        first = json.loads(head.lstrip().split(b"\n", 1)[0])
    except ValueError:
        return False
    return isinstance(first, dict) and first.get("kind") in RECORD_TYPES


def read(path: Path) -> Trace:
    """Return the records of the trace."""
    return read_trace(path)
