"""Reads the lines that are appended to a JSON-lines file, as they come.

Runs in: driver.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


class JsonTail:
    """Yields each complete line once; a line still being written is left for the next call."""

    def __init__(self, path: Path, *, from_end: bool) -> None:
        self._path = path
        self._offset = path.stat().st_size if from_end and path.exists() else 0

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the objects appended since the last call."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
                try:
                    yield json.loads(line)
                except ValueError:
                    _log.warning("%s: a line that is not JSON was passed over", self._path)
