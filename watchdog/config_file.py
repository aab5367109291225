"""Reads the watchdog's settings out of a job file, without the rest of it.

Runs in: anywhere (reads files).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from watchdog.config import WatchdogConfig
from watchdog.errors import SpecError


class _Loader(yaml.SafeLoader):
    """Reads `1e-4` as a number, as YAML 1.2 and every reader expect."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def read_config(path: Path) -> WatchdogConfig:
    """Return the section `watchdog` of a job file; the defaults if it has none.

    Raises:
        SpecError: the file cannot be read, or says something that does not exist.
    """
    try:
        document: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"cannot read {path}: {error}; --config takes a job.yaml") from error
    section = document.get("watchdog") if isinstance(document, dict) else None
    try:
        return WatchdogConfig.model_validate(section or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("watchdog", *first["loc"]))
        raise SpecError(
            f"{where} in {path}: {first['msg']}, but it is {first['input']!r}; "
            f"{error.error_count()} settings are wrong"
        ) from error
