"""Records from a file of whatever origin: what is not whole is none.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any

from watchdog.records import Record, record_from_json

#: What is counted or calculated with. A record with another type there is taken for torn.
_WHOLE = ("step", "generation", "attempt", "restored_step")
_WHOLE_OR_UNKNOWN = ("rank",)
_REAL = ("t_s",)
_REAL_OR_UNKNOWN = (
    "loss",
    "lr",
    "grad_norm",
    "step_s",
    "data_s",
    "seconds",
    "size_bytes",
    "val_loss",
    "val_metric",
)


def sound_record(line: Mapping[str, Any] | None) -> Record | None:
    """Return the record of a line of a trace; None if it is none, or not one to calculate with."""
    if line is None:
        return None
    try:
        record = record_from_json(line)
    except (KeyError, TypeError, ValueError):
        return None
    is_sound = (
        _are(record, _WHOLE, int)
        and _are(record, _WHOLE_OR_UNKNOWN, int | None)
        and _are(record, _REAL, int | float)
        and _are(record, _REAL_OR_UNKNOWN, int | float | None)
    )
    return record if is_sound else None


def _are(record: Record, names: tuple[str, ...], kind: type | UnionType) -> bool:
    """Return whether the fields of these names, where the record has them, are of a kind."""
    return all(isinstance(getattr(record, name), kind) for name in names if hasattr(record, name))
