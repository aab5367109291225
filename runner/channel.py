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

    def hold(self, step: int, payload: Mapping[str, Any]) -> None:
        """Keep a copy of a memory checkpoint outside this process, if that is possible."""
        ...

    def held(self, step: int) -> Mapping[str, Any] | None:
        """Return the copy of step `step` that was kept, or None."""
        ...
