"""What a check found: a level, a sentence with its numbers, and the remedy.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How a check ended; `unchecked` says that it had nothing to work with."""

    PASS = "pass"
    UNCHECKED = "unchecked"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One row of the table.

    `check` is the name of the file that found it, `title` how the table calls it.
    """

    level: Level
    text: str
    remedy: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    check: str = ""
    title: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a JSON object; a number that is not finite is null."""
        numbers = {k: v if math.isfinite(v) else None for k, v in self.numbers.items()}
        return {**dataclasses.asdict(self), "level": self.level.value, "numbers": numbers}


def finding_from_json(value: Mapping[str, Any]) -> Finding:
    """Return the finding that `to_json` wrote."""
    numbers = {k: math.nan if v is None else float(v) for k, v in value["numbers"].items()}
    names = {key: value[key] for key in ("text", "remedy", "check", "title")}
    return Finding(level=Level(value["level"]), numbers=numbers, **names)


def passed(text: str, **numbers: float) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(Level.PASS, text, "", numbers)


def unchecked(text: str) -> Finding:
    """Return a finding that there was nothing to check with; the text says what is missing."""
    return Finding(Level.UNCHECKED, text)


def warned(text: str, remedy: str, **numbers: float) -> Finding:
    """Return a finding that does not refuse the run."""
    return Finding(Level.WARN, text, remedy, numbers)


def failed(text: str, remedy: str, **numbers: float) -> Finding:
    """Return a finding that refuses the run."""
    return Finding(Level.FAIL, text, remedy, numbers)


@dataclass(frozen=True, slots=True)
class Preflight:
    """All findings of one preflight, in the order of the checks, and the time it took."""

    job: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def worst(self) -> Level:
        """Return the gravest level; unchecked counts as passed."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.PASS)

    def of_level(self, level: Level) -> tuple[Finding, ...]:
        """Return the findings of one level."""
        return tuple(finding for finding in self.findings if finding.level is level)

    def number(self, name: str) -> float | None:
        """Return a measured number by its name, if a check measured it."""
        found = (finding.numbers.get(name) for finding in self.findings)
        return next((value for value in found if value is not None), None)

    def to_json(self) -> dict[str, Any]:
        """Return the one JSON document of `preflight --json`."""
        return {
            "job": self.job,
            "result": self.worst.value,
            "seconds": round(self.seconds, 3),
            "counts": {level.value: len(self.of_level(level)) for level in Level},
            "findings": [finding.to_json() for finding in self.findings],
        }


def some(names: Iterable[object], limit: int = 3) -> str:
    """Return the first names, and how many more there are."""
    texts = [str(name) for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more
