"""What an alert and a recording rule are.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Where the runbooks are served; `python -m deploy.generate --runbooks URL` puts yours in.
RUNBOOKS = "docs/RUNBOOKS.md"


class Severity(StrEnum):
    """Who is told: `critical` wakes somebody, `warning` waits for the morning, `none` nobody."""

    CRITICAL = "critical"
    WARNING = "warning"
    NONE = "none"


class Component(StrEnum):
    """What is wrong: the run, its numbers, its checkpoints, or the watchdog itself."""

    RUN = "run"
    NUMERICS = "numerics"
    CHECKPOINT = "checkpoint"
    WATCHDOG = "watchdog"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """One page for whoever is told."""

    meaning: str
    done_already: str
    to_do: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert; `for_` and `keep_firing_for` are Prometheus durations, empty for none."""

    name: str
    expr: str
    severity: Severity
    component: Component
    summary: str
    description: str
    runbook: Runbook
    for_: str = ""
    keep_firing_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recording rule, named level:metric:operations."""

    record: str
    expr: str
    why: str
