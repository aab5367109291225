"""How often each cause may be acted on before a person has to look.

A charge counts against its cause until the run has made `period_steps` of verified progress since:
clean steps on new ground, beyond every bad step so far. Time alone gives nothing back, and neither
do steps that only repeat what was reached before. A run that is stuck makes clean steps without
end, so there a charge is given back only by a proof that the intervention helped.

Source: Erlang/OTP supervision principles (restart intensity and period); the measure is ours.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from watchdog.records import STUCK_CAUSES, Cause
from watchdog.settings import Config


class BudgetConfig(Config):
    """Interventions of each cause within `period_steps` of verified progress; then a halt."""

    period_steps: int = Field(
        1000, ge=1, description="Clean steps on new ground that give a charge back."
    )
    nonfinite: int = Field(3, ge=0, description="Rollbacks after NaN or infinity.")
    spike: int = Field(3, ge=0, description="Rollbacks after a spike that did not recover.")
    plateau: int = Field(3, ge=0, description="Interventions against a plateau that did not help.")
    divergence: int = Field(3, ge=0, description="Rollbacks after a slow rise.")
    dead_loss: int = Field(2, ge=0, description="Rollbacks after a loss that is frozen.")
    lr_underflow: int = Field(0, ge=0, description="A lower rate does not help: halt with advice.")
    trivial: int = Field(1, ge=0, description="Rollbacks of a run that predicts a constant.")
    skipped_batches: int = Field(2, ge=0, description="Rollbacks after too many skipped steps.")
    crash: int = Field(5, ge=0, description="Restarts after an exception or a dead worker.")
    stall: int = Field(3, ge=0, description="Restarts after a hang, with every rank's stack kept.")
    out_of_memory: int = Field(
        4, ge=0, description="Restarts with a smaller micro-batch: down to a sixteenth, by halves."
    )
    node_lost: int = Field(
        10,
        ge=0,
        description="Restarts after a lost node by an attempt without progress; others are free.",
    )

    def limit(self, cause: Cause) -> int:
        """Return how many charges of a cause are allowed: none of one that is only watched."""
        return int(getattr(self, cause.value, 0))


@dataclass(slots=True)
class BudgetBook:
    """The charges of one run, and the progress that gives them back."""

    progress_steps: int = 0
    _frontier_step: int = 0
    _charges: dict[Cause, deque[int]] = field(default_factory=dict)

    def clean_step(self, step: int) -> None:
        """Count a clean step, if it is new ground."""
        if step > self._frontier_step:
            self._frontier_step = step
            self.progress_steps += 1

    def bad_step(self, step: int) -> None:
        """Move the frontier: progress counts beyond the last bad step only."""
        self._frontier_step = max(self._frontier_step, step)

    def charge(self, cause: Cause) -> None:
        """Charge one intervention to a cause."""
        self._charges.setdefault(cause, deque(maxlen=1024)).append(self.progress_steps)

    def give_back(self, cause: Cause) -> None:
        """Take the newest charge of a cause back: what it paid for was proven to help."""
        if self._charges.get(cause):
            self._charges[cause].pop()

    def forgive(self) -> None:
        """Drop every charge: a person has looked at the run and resumed it."""
        self._charges.clear()

    def spent(self, period_steps: int) -> Mapping[Cause, int]:
        """Return the charges of each cause that progress has not given back yet."""
        since = self.progress_steps - period_steps
        return {
            cause: sum(cause in STUCK_CAUSES or charged > since for charged in charges)
            for cause, charges in self._charges.items()
        }


@dataclass(slots=True)
class _Strike:
    """Where the run stood when a cause was last acted on, and what had come of it."""

    progress_steps: int
    restored_step: int
    repeats: int
    has_failed: bool = False
    undone: int = 0


class StrikeBook:
    """How often each cause struck again without progress since the last time it was acted on."""

    def __init__(self) -> None:
        self._strikes: dict[Cause, _Strike] = {}

    def repeats(self, cause: Cause, progress_steps: int) -> int:
        """Return how often in a row a cause has struck without progress; 0 for the first time.

        One whose last intervention was proven not to have helped counts too.
        """
        last = self._strikes.get(cause)
        if last is None or not (last.has_failed or last.progress_steps == progress_steps):
            return 0
        return last.repeats + 1

    def last_restored_step(self, cause: Cause) -> int | None:
        """Return the step that was restored when a cause was last acted on; None for never."""
        last = self._strikes.get(cause)
        return last.restored_step if last is not None else None

    def undone(self, cause: Cause) -> int:
        """Return how many lowered rates were taken back since one helped against a cause."""
        last = self._strikes.get(cause)
        return last.undone if last is not None else 0

    def acted(self, cause: Cause, progress_steps: int, restored_step: int) -> None:
        """Note that an intervention against a cause was carried out."""
        self._strikes[cause] = _Strike(
            progress_steps=progress_steps,
            restored_step=restored_step,
            repeats=self.repeats(cause, progress_steps),
            undone=self.undone(cause),
        )

    def proven(self, cause: Cause, *, helped: bool, was_undone: bool) -> None:
        """Note what the proof said of the last intervention against a cause."""
        last = self._strikes.get(cause)
        if last is not None:
            last.has_failed = not helped
            last.undone = 0 if helped else last.undone + was_undone
