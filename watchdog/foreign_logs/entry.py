"""One entry of a foreign log, with the names and the values it was written with.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchdog.errors import TraceError


@dataclass(frozen=True, slots=True)
class Entry:
    """`number` counts the file's units (`line`, `entry`, `record`) from 1."""

    number: int
    values: Mapping[str, Any]
    unit: str = "line"


def malformed(path: Path, entry: Entry, what: str) -> TraceError:
    """Return the error of an entry that cannot be read; `what` completes "line 3 of f ..."."""
    return TraceError(
        f"{entry.unit} {entry.number} of {path} {what}; likely another format, or edited by hand; "
        "name the right one with --format"
    )
