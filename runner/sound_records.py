"""Records from a file of whatever origin: what is not whole is none.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from watchdog.records import Record, record_from_json


def sound_record(line: Mapping[str, Any] | None) -> Record | None:
    """Return the record of a line of a trace; None if it is none, or not one to calculate with."""
    if line is None:
        return None
    try:
        return record_from_json(line)
    except (KeyError, TypeError, ValueError):
        return None
