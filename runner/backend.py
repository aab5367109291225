"""What the supervisor asks of whatever runs the workers.

Runs in: driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from runner.watchdog_link import Watchdog
from watchdog.errors import RollbackFailed
from watchdog.records import Outcome


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How the last attempt of a group ended, as far as the backend can tell."""

    outcome: Outcome
    step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    trivial: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    rank: int | None = None
    is_node_lost: bool = False
    #: Why a finished attempt ended before its last step.
    reason: str | None = None


def outcome_of(error: str) -> Outcome:
    """Return what an exception that ended a rank means, from its text: it crossed processes."""
    if RollbackFailed.__name__ in error:
        return Outcome.ROLLBACK_FAILED
    is_memory = "OutOfMemoryError" in error or "CUDA out of memory" in error
    return Outcome.OUT_OF_MEMORY if is_memory else Outcome.EXCEPTION


class Backend(Protocol):
    """Runs worker groups, one at a time."""

    def start(self) -> Watchdog:
        """Bring up what attempts need, the watchdog first."""
        ...

    def run_group(self, group: int) -> AttemptResult:
        """Run one worker group to its end; expected ends are values, not exceptions.

        It may make several attempts; `group` is the number of the first.
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...
