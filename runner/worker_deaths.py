"""What Ray says about a worker that is gone, in words of one line.

Runs in: driver, and Ray Train's controller.
"""

from __future__ import annotations

from dataclasses import dataclass

import ray


@dataclass(frozen=True, slots=True)
class Death:
    """How a worker process ended; `is_node_lost` if it went with its node."""

    detail: str
    is_node_lost: bool


def death_of(failure: BaseException) -> Death | None:
    """Return how a worker died, None if it raised an exception and lives."""
    death = getattr(failure, "health_check_failure", failure)
    if not isinstance(death, ray.exceptions.RayActorError):
        return None
    text = str(death)
    is_node_lost = isinstance(death, ray.exceptions.NodeDiedError) or any(
        words in text for words in ("node has died", "node died")
    )
    return Death(_detail(text) or first_line(death), is_node_lost)


def _detail(text: str) -> str:
    """Return Ray's own words on how a process ended, without its advice."""
    _, found, detail = text.partition("Worker exit detail: ")
    return detail.partition(". ")[0] if found else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
