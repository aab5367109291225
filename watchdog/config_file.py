"""Reads the watchdog's settings out of a job file, without the rest of it.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from watchdog.config import WatchdogConfig
from watchdog.errors import SpecError
from watchdog.strict_yaml import read_yaml


def read_config(path: Path) -> WatchdogConfig:
    """Return the section `watchdog` of a job file; the defaults if it has none.

    Raises:
        SpecError: the file cannot be read, or says something that does not exist.
    """
    try:
        document = read_yaml(path, path.name)
    except SpecError as error:
        raise SpecError(f"cannot read {path}: {error}; --config takes a job.yaml") from error
    section = document.get("watchdog") if isinstance(document, dict) else None
    try:
        # As JSON, because strict models take a list for a tuple and text for an enum only there.
        return WatchdogConfig.model_validate_json(json.dumps(section or {}))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("watchdog", *first["loc"]))
        raise SpecError(
            f"{where} in {path}: {first['msg']}, but it is {first['input']!r}; "
            f"{error.error_count()} settings are wrong"
        ) from error
