"""How often each cause may be acted on before a person has to look.

A charge counts against its cause until the run has made `period_steps` of verified progress since:
clean steps on new ground, beyond every bad step so far. Time alone gives nothing back, and neither
do steps that only repeat what was reached before. Charges against a plateau are never given back: a
run that is stuck makes clean steps without end.

Source: Erlang/OTP supervision principles (restart intensity and period); the measure is ours.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import Field

from watchdog.records import Cause
from watchdog.settings import Config


class BudgetConfig(Config):
    """Interventions of each cause within `period_steps` of verified progress; then a halt."""

    period_steps: int = Field(
        1000, ge=1, description="Clean steps on new ground that give a charge back."
    )
    nonfinite: int = Field(3, ge=0, description="Rollbacks after NaN or infinity.")
    spike: int = Field(3, ge=0, description="Rollbacks after a spike that did not recover.")
    plateau: int = Field(3, ge=0, description="Rollbacks after a plateau, in the whole run.")
    crash: int = Field(5, ge=0, description="Restarts after an exception or a dead worker.")
    node_lost: int = Field(
        10,
        ge=0,
        description="Restarts after a lost node by an attempt without progress; others are free.",
    )

    def limit(self, cause: Cause) -> int:
        """Return how many charges of a cause are allowed."""
        return int(getattr(self, cause.value))


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

    def forgive(self) -> None:
        """Drop every charge: a person has looked at the run and resumed it."""
        self._charges.clear()

    def spent(self, period_steps: int) -> Mapping[Cause, int]:
        """Return the charges of each cause that progress has not given back yet."""
        since = self.progress_steps - period_steps
        return {
            cause: sum(cause is Cause.PLATEAU or charged > since for charged in charges)
            for cause, charges in self._charges.items()
        }
