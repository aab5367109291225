"""The log formats that can be replayed; the folder is the registry.

An importer is a module with `IS_FOREIGN` (whether nobody acted on what the watchdog says in this
log), `recognises(head) -> Fit` on the first bytes of a file, and `read(path) -> Source`.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchdog.errors import TraceError
from watchdog.foreign_logs.fit import Fit
from watchdog.log_files import read_head
from watchdog.records import Record

#: Chosen: enough for the first line of any format, little enough to read twice.
_HEAD_BYTES = 65536


class Source(Protocol):
    """Records read from a file; the lines read and a torn end are known once they all were."""

    @property
    def count(self) -> int:
        """The lines, entries or events read."""
        ...

    @property
    def is_torn(self) -> bool:
        """Whether the last one was half-written and left out."""
        ...

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in order."""
        ...


@dataclass(frozen=True, slots=True)
class Importer:
    """One file of this folder."""

    name: str
    is_foreign: bool
    recognises: Callable[[bytes], Fit]
    read: Callable[[Path], Source]


def choose(path: Path, name: str) -> Importer:
    """Return the importer called `name`; of `auto`, the one that fits best.

    Raises:
        TraceError: the file cannot be read, or no importer fits.
    """
    if name != "auto":
        if name not in IMPORTERS:
            raise TraceError(f"no format {name!r}; --format is one of {', '.join(IMPORTERS)}, auto")
        return IMPORTERS[name]
    head = read_head(path, _HEAD_BYTES)
    best = max(IMPORTERS.values(), key=lambda importer: importer.recognises(head))
    if best.recognises(head) is not Fit.NO:
        return best
    raise TraceError(
        f"{path} is in none of the known formats ({', '.join(IMPORTERS)}); likely empty or another "
        "kind of log; name the format with --format if it is one of these"
    )


def _load() -> Mapping[str, Importer]:
    found = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found[info.name] = Importer(info.name, module.IS_FOREIGN, module.recognises, module.read)
    return found


IMPORTERS: Mapping[str, Importer] = _load()
