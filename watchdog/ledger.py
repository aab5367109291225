"""The ledger of a run: what was concluded and done, on disk before anything is done about it.

Runs in: watchdog actor (writes the file); anywhere (reads it).
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from watchdog.errors import TraceError
from watchdog.json_lines import Reading, drop_torn_end
from watchdog.records import LedgerEntry, LedgerKind, Verdict, verdict_from_json

_log = logging.getLogger(__name__)


def ledger_line(conclusion: LedgerEntry | Verdict) -> dict[str, Any]:
    """Return the JSON object of a conclusion as the ledger holds it."""
    if isinstance(conclusion, Verdict):
        return {"kind": LedgerKind.VERDICT.value, **conclusion.to_json()}
    return conclusion.to_json()


class Ledger:
    """Appends to one file; a half-written last line of an earlier writer is dropped on opening."""

    def __init__(self, path: Path) -> None:
        dropped = drop_torn_end(path)
        if dropped:
            _log.warning("dropped a half-written last line of %d bytes from %s", dropped, path)
        self._file = path.open("a", encoding="utf-8")

    def append(self, conclusions: Iterable[LedgerEntry | Verdict]) -> None:
        """Write the lines; they are on disk when this returns."""
        lines = [json.dumps(ledger_line(conclusion)) + "\n" for conclusion in conclusions]
        if not lines:
            return
        self._file.write("".join(lines))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a ledger, without a half-written last one; empty if there is no file.

    Raises:
        TraceError: the file cannot be read, or another line than the last is malformed.
    """
    if not path.exists():
        return []
    return [line.data for line in Reading(path)]


def verdicts(lines: Iterable[dict[str, Any]]) -> list[Verdict]:
    """Return the verdicts among the lines of a ledger, in order.

    Raises:
        TraceError: a verdict lacks a field or has an unknown value.
    """
    found = []
    for line in lines:
        if line.get("kind") == LedgerKind.VERDICT:
            try:
                found.append(verdict_from_json(line))
            except (KeyError, TypeError, ValueError) as error:
                raise TraceError(
                    f"verdict {line.get('verdict_id')} of the ledger cannot be read: {error!r}; "
                    "likely written by another version"
                ) from error
    return found
