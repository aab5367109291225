"""Where a generated data set lies, and how it comes to lie there whole or not at all.

Runs in: driver, worker (writes files).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from watchdog.errors import DataError


def generated_folder(job: str, version: int, config: BaseModel, cache_dir: Path) -> Path:
    """Return where the data set of these parameters lies, or would lie.

    `version` is the generator's; raise it when the same parameters would give other samples.
    """
    parameters = json.dumps({"version": version, **config.model_dump()}, sort_keys=True)
    return cache_dir / f"{job}-{hashlib.sha256(parameters.encode()).hexdigest()[:16]}"


def ensure_written(target: Path, write: Callable[[Path], None]) -> Path:
    """Return `target`, filled by `write` first when it is not there.

    It is written aside and renamed into place, so it is complete when it exists, and of two
    processes that race the slower one uses the other's.

    Raises:
        DataError: the folder cannot be written.
    """
    if target.is_dir():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".generating-") as scratch:
            built = Path(scratch) / "set"
            built.mkdir()
            write(built)
            _rename_unless_there(built, target)
    except OSError as error:
        raise DataError(
            f"cannot write generated samples to {target}: {error}; the disk is probably full or "
            f"read-only; free it, or give real samples with data.path=null"
        ) from error
    return target


def _rename_unless_there(built: Path, target: Path) -> None:
    try:
        built.rename(target)
    except OSError:
        if not target.is_dir():
            raise
