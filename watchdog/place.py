"""Where in its life a run is, as far as records have told; every ledger line is stamped with it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from watchdog.records import LedgerEntry, LedgerKind


@dataclass(slots=True)
class Place:
    """`step` is the newest step of the current generation; `t_s` the newest finite time stamp.

    `started_attempt` and `ended_attempt` are the last ones that did so, -1 for none. `max_steps` is
    where the run is to end, None where nobody has said.
    """

    run_id: str = ""
    job: str = ""
    attempt: int = 0
    generation: int = 0
    step: int = 0
    t_s: float = 0.0
    started_attempt: int = -1
    ended_attempt: int = -1
    max_steps: int | None = None

    @property
    def is_attempt_live(self) -> bool:
        """Whether there are workers to give orders to."""
        return self.attempt > self.ended_attempt

    @property
    def next_attempt(self) -> int:
        """Return the number of the attempt that would follow."""
        return max(self.started_attempt, self.ended_attempt) + 1

    def line(
        self, kind: LedgerKind, data: Mapping[str, Any] | None = None, *, step: int | None = None
    ) -> LedgerEntry:
        """Return a ledger line that is written here and now, about `step` if given."""
        return LedgerEntry(
            kind=kind,
            t_s=self.t_s,
            attempt=self.attempt,
            step=self.step if step is None else step,
            data=data or {},
        )
