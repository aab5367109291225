"""How a worker talks to its watchdog, whatever lies between them.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from watchdog.records import Order, Record


class ChannelDown(ConnectionError):
    """The watchdog did not answer; it may be restarting. Training goes on without it."""


class Channel(Protocol):
    """One rank's line to the watchdog. Every method may raise `ChannelDown`.

    `keeps_copies` says whether `hold` puts a checkpoint where it outlives this process.
    """

    keeps_copies: bool

    def exchange(self, records: Sequence[Record]) -> Order | None:
        """Hand records over and return the order that is pending, if one is."""
        ...

    def claim(self, key: str) -> int:
        """Return how often `key` was claimed before, and count this claim."""
        ...

    def end_watchdog(self) -> None:
        """Kill the watchdog's process, for a drill."""
        ...

    def trust(self) -> Mapping[int, str]:
        """Return the trust of the durable checkpoints by step."""
        ...

    def hold(self, step: int, payload: Mapping[str, Any]) -> Sequence[int]:
        """Keep a copy of a memory checkpoint outside this process, if that is possible.

        Return the steps that this rank now has copies of there: a watchdog that was restarted has
        fewer than it was given.
        """
        ...

    def held(self, step: int, rank: int = 0) -> Mapping[str, Any] | None:
        """Return the copy of step `step` that was kept for `rank`, or None."""
        ...

    def held_steps(self) -> Sequence[int]:
        """Return the steps of which there is a whole copy outside, oldest first."""
        ...

    def drop_held_after(self, step: int) -> None:
        """Let go of the copies after `step`."""
        ...

    def copy_room_bytes(self) -> int:
        """Return the bytes that all copies together may take; 0 where none are kept."""
        ...
