"""Entries of JSON-lines logs.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from watchdog.errors import TraceError
from watchdog.foreign_logs.entry import Entry, malformed
from watchdog.json_lines import Reading
from watchdog.log_files import decoded, opened

_ARRAY = re.compile(r"\s*\[\s*\{")
_NAME = re.compile(r'"([^"\\]{1,100})"\s*:')


class JsonEntries:
    """The objects of one JSON-lines file; `is_torn` is known once all were read."""

    def __init__(self, path: Path) -> None:
        self._reading = Reading(path)

    @property
    def is_torn(self) -> bool:
        """Whether the last line was half-written and left out."""
        return self._reading.is_torn

    def __iter__(self) -> Iterator[Entry]:
        """Yield the objects in order.

        Raises:
            TraceError: the file cannot be read, or a line is no object.
        """
        for line in self._reading:
            yield Entry(line.number, line.data)


class JsonArray:
    """The objects of one JSON document that is a list of them; it is never half-read."""

    is_torn = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Entry]:
        """Yield the objects in order.

        Raises:
            TraceError: the file cannot be read, or is no list of objects.
        """
        with opened(self._path) as file:
            data = file.read()
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise TraceError(
                f"{self._path} starts a list and is not JSON ({error}); likely cut off; name the "
                "right format with --format"
            ) from error
        for number, values in enumerate(document if isinstance(document, list) else [], start=1):
            entry = Entry(number, values, "entry")
            if not isinstance(values, dict):
                raise malformed(self._path, entry, f"is {type(values).__name__}, not an object")
            yield entry


def names_in_array(head: bytes) -> list[str]:
    """Return the names at the start of a file that is a list of objects; [] of any other."""
    text = decoded(head)
    return _NAME.findall(text) if _ARRAY.match(text) else []


def first_objects(head: bytes) -> list[dict[str, Any]]:
    """Return the objects on the first lines of a file; of a line that is cut off, its names.

    [] if the first line is no object.
    """
    objects: list[dict[str, Any]] = []
    for line in decoded(head).splitlines():
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            is_cut = not objects and line.startswith("{") and len(line) > len(head) // 2
            return [dict.fromkeys(_NAME.findall(line))] if is_cut else objects
        if not isinstance(found, dict):
            return objects
        objects.append(found)
    return objects
