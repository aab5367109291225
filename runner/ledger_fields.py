"""Fields of a ledger line, read with the doubt that a file deserves.

A ledger may come from another version or end in the middle of a word; what is not there or is not
what it should be is unknown, which is None, and never an exception in a report.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Line = Mapping[str, Any]


def number(line: Line, name: str) -> float | None:
    """Return a finite number, or None; a truth value is not a number."""
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # JSON's whole numbers have no limit
        return None
    return found if math.isfinite(found) else None


def whole(line: Line, name: str) -> int | None:
    """Return a whole number, or None."""
    value = number(line, name)
    return None if value is None else int(value)


def text(line: Line, name: str) -> str:
    """Return a text, or an empty one."""
    value = line.get(name)
    return value if isinstance(value, str) else ""


def count(line: Line, name: str) -> int | None:
    """Return how many there are: of a list its length, of a number itself."""
    value = line.get(name)
    return len(value) if isinstance(value, list | tuple) else whole(line, name)


def listed(line: Line, name: str) -> list[Line]:
    """Return the objects of a list, or none."""
    value = line.get(name)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
