"""A census of many files, taken once by several threads and remembered beside the cache.

Decoding the fifteen thousand pictures of a set takes half a minute; the driver does it once, and
every rank and every later run of the same files reads the outcome.

Runs in: driver, worker (reads and writes files).
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobs.shared.census import READ_ERRORS, Census, Unreadable, one_line


def remembered_census(
    files: Sequence[Path], read: Callable[[Path], object], cache_dir: Path, what: str
) -> Census[Path]:
    """Return which files `read` takes; asked again about the same files, nothing is read.

    Files are the same while their paths, sizes and times of change are. `what` names the way of
    reading: another way asks anew.
    """
    memory = cache_dir / f"census-{_fingerprint(files, what)}.json"
    why = _recall(memory)
    if why is None:
        why = _read_all(files, read)
        _remember(memory, why)
    return Census(
        readable=tuple(path for path in files if str(path) not in why),
        unreadable=tuple(
            Unreadable(str(path), why[str(path)]) for path in files if str(path) in why
        ),
    )


def _read_all(files: Sequence[Path], read: Callable[[Path], object]) -> dict[str, str]:
    def why(path: Path) -> str | None:
        try:
            read(path)
        except READ_ERRORS as error:
            return one_line(error)
        return None

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as threads:
        reasons = threads.map(why, files)
        return {
            str(path): reason
            for path, reason in zip(files, reasons, strict=True)
            if reason is not None
        }


def _fingerprint(files: Sequence[Path], what: str) -> str:
    digest = hashlib.sha256(what.encode())
    for path in files:
        try:
            stat = path.stat()
            state = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}"
        except OSError as error:
            state = f"{path}\0{error.errno}"
        digest.update(f"{state}\n".encode())
    return digest.hexdigest()[:16]


def _recall(memory: Path) -> dict[str, str] | None:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(found, dict) and all(isinstance(v, str) for v in found.values())
    return found if is_ours else None


def _remember(memory: Path, why: dict[str, str]) -> None:
    """Write the outcome whole or not at all; where nothing can be written it is found anew."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=memory.parent, delete=False, encoding="utf-8"
        ) as file:
            json.dump(why, file)
        Path(file.name).replace(memory)
    except OSError:
        return
