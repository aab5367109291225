"""What a detector returns: its evidence at one step, with the numbers that made it speak.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from watchdog.records import Cause


class Level(StrEnum):
    """How sure a finding is: watched, or to be acted on."""

    SUSPECT = "suspect"
    INCIDENT = "incident"


class Cadence(StrEnum):
    """When a detector is asked: at each step, now and then and at each validation, or at ticks.

    Ticks come only while no step does: at a tick nothing has changed but the time.
    """

    STEP = "step"
    BLOCK = "block"
    TICK = "tick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One detector's evidence; `onset_step` is the first bad step.

    `value` and `threshold` are in the unit of the watched quantity. `bad_steps` are the steps
    whose samples a replay should not consume. `rank` is the culprit, where it is one.
    """

    cause: Cause
    level: Level
    onset_step: int
    value: float | None
    threshold: float | None
    summary: str
    bad_steps: tuple[int, ...] = ()
    rank: int | None = None
