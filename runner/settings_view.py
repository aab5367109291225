"""What a run was set to, and how that differs from the defaults.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from runner.spec import RunSpec
from watchdog.redaction import REDACTED, is_secret_name, redact

#: Chosen: longer lists are in the whole file below.
MAX_DIFFERENCES = 120
_MISSING = object()
#: These say what the run is, not how it differs.
_IDENTITY = frozenset({"name", "description"})


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting, what it is, and what it would be; `default` is empty where there is none."""

    name: str
    value: str
    default: str


def differences(spec: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the settings that are not the default, by name; those of the job itself are left out.

    The job's own settings have their defaults in the job's code, which a report must not run.
    """
    defaults = dict(_defaults(RunSpec, ""))
    found = []
    for name, value in _flat(spec, ""):
        default = defaults.get(name, _MISSING)
        is_own = name in _IDENTITY or name.startswith("task.")
        if is_own or _same(value, default):
            continue
        shown = "" if default is _MISSING else _text(default)
        secret = is_secret_name(name.rsplit(".", 1)[-1])
        found.append(Difference(name, REDACTED if secret else redact(_text(value)), shown))
    return tuple(found[:MAX_DIFFERENCES])


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return list(value) == list(default)
    return bool(value == default)


def _defaults(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        annotation = field.annotation
        if isinstance(default, BaseModel):
            yield from _flat(default.model_dump(mode="json"), f"{prefix}{name}.")
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _defaults(annotation, f"{prefix}{name}.")
        elif default is not PydanticUndefined:
            yield f"{prefix}{name}", default


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif not isinstance(value, Mapping):
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return "null" if value is None else str(value)
