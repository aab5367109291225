"""The phases of a run and the one table of moves between them.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import StrEnum

from watchdog.errors import WatchkeeperError

_log = logging.getLogger(__name__)


class Phase(StrEnum):
    """Where a run is in its life. RUNNING is earned by the first reported step."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    FINISHED = "finished"
    STOPPED = "stopped"
    HALTED = "halted"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows without a `resume`."""
        return not TRANSITIONS[self]


_ENDS = frozenset({Phase.STOPPED, Phase.HALTED, Phase.FAILED})

TRANSITIONS: Mapping[Phase, frozenset[Phase]] = {
    Phase.PENDING: frozenset({Phase.STARTING}) | _ENDS,
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.RESTARTING, Phase.FINISHED}) | _ENDS,
    Phase.RUNNING: frozenset({Phase.RESTARTING, Phase.FINISHED}) | _ENDS,
    Phase.RESTARTING: frozenset({Phase.STARTING}) | _ENDS,
    Phase.FINISHED: frozenset(),
    Phase.STOPPED: frozenset(),
    Phase.HALTED: frozenset(),
    Phase.FAILED: frozenset(),
}


class ImpossibleTransition(WatchkeeperError):
    """The supervisor asked for a move that the table does not have."""


def move(old: Phase, new: Phase, reason: str) -> Phase:
    """Return `new`, having logged the move.

    Raises:
        ImpossibleTransition: the table has no such move.
    """
    if new not in TRANSITIONS[old]:
        raise ImpossibleTransition(f"no move from {old} to {new} ({reason})")
    _log.info("run %s -> %s: %s", old, new, reason)
    return new
