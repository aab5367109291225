"""One line of the ledger: what was concluded or done.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class LedgerKind(StrEnum):
    """The kinds of ledger lines, a contract with everything that reads a run folder."""

    RUN_STARTED = "run_started"
    ATTEMPT_STARTED = "attempt_started"
    CHECKPOINT_SAVED = "checkpoint_saved"
    CHECKPOINT_TRUSTED = "checkpoint_trusted"
    CHECKPOINT_TAINTED = "checkpoint_tainted"
    CHECKPOINT_QUARANTINED = "checkpoint_quarantined"
    SUSPECT = "suspect"
    INCIDENT_OPENED = "incident_opened"
    VERDICT = "verdict"
    RECOVERY_STARTED = "recovery_started"
    RECOVERY_DONE = "recovery_done"
    INCIDENT_CLOSED = "incident_closed"
    PROOF = "proof"
    ATTEMPT_ENDED = "attempt_ended"
    RUN_ENDED = "run_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One line of the ledger: what was concluded or done. `data` holds the kind's own fields."""

    kind: LedgerKind
    t_s: float
    attempt: int
    step: int
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the flat JSON object of the ledger file."""
        return {
            "t_s": self.t_s,
            "kind": self.kind,
            "attempt": self.attempt,
            "step": self.step,
            **self.data,
        }
