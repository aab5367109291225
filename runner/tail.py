"""Reads what is appended to a growing file, as it comes.

Runs in: driver.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class LineTail:
    """Reads the complete lines that were added to a growing file since the last call."""

    path: Path
    _offset: int = field(default=0, init=False)

    def new_lines(self) -> list[str]:
        """Return the lines that are complete by now; the one being written waits."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except OSError:
            return []
        end = content.rfind(b"\n") + 1
        self._offset += end
        return content[:end].decode("utf-8", errors="replace").splitlines()

    def skip_to_end(self) -> None:
        """Leave out what is there already."""
        self._offset = self.path.stat().st_size if self.path.exists() else 0


class JsonTail:
    """Yields each complete line of a JSON-lines file once, as an object."""

    def __init__(self, path: Path, *, from_end: bool) -> None:
        self._lines = LineTail(path)
        if from_end:
            self._lines.skip_to_end()

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the objects appended since the last call."""
        for line in self._lines.new_lines():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                yield value
            else:
                _log.warning("%s: a line that is no object was passed over", self._lines.path)
