"""The log formats that can be replayed; the folder is the registry.

An importer is a module with `IS_FOREIGN` (whether nobody acted on what the watchdog says in this
log), `recognises(head) -> bool` on the first bytes of a file, and `read(path) -> Source`.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import gzip
import importlib
import pkgutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchdog.errors import TraceError
from watchdog.records import Record

#: Chosen: enough for the first line of any format, little enough to read twice.
_HEAD_BYTES = 65536


class Source(Protocol):
    """Records read from a file; the lines read and a torn end are known once they all were."""

    count: int
    is_torn: bool

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in order."""
        ...


@dataclass(frozen=True, slots=True)
class Importer:
    """One file of this folder."""

    name: str
    is_foreign: bool
    recognises: Callable[[bytes], bool]
    read: Callable[[Path], Source]


def choose(path: Path, name: str) -> Importer:
    """Return the importer called `name`; of `auto`, the one that recognises the file.

    Raises:
        TraceError: the file cannot be read, or no importer fits.
    """
    if name != "auto":
        if name not in IMPORTERS:
            raise TraceError(f"no format {name!r}; --format is one of {', '.join(IMPORTERS)}, auto")
        return IMPORTERS[name]
    head = _head(path)
    for importer in IMPORTERS.values():
        if importer.recognises(head):
            return importer
    raise TraceError(
        f"{path} is in none of the known formats ({', '.join(IMPORTERS)}); likely empty or another "
        "kind of log; name the format with --format if it is one of these"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if not head.startswith(b"\x1f\x8b"):
            return head
        with gzip.open(path, "rb") as file:
            return file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(
            f"cannot read {path}: {error}; likely a wrong path or a damaged file"
        ) from error


def _load() -> Mapping[str, Importer]:
    found = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        found[info.name] = Importer(info.name, module.IS_FOREIGN, module.recognises, module.read)
    return found


IMPORTERS: Mapping[str, Importer] = _load()
