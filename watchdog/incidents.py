"""A suspicion, an incident, and what became of them; plain state that the judge moves along.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from watchdog.baseline import Baseline
from watchdog.records import NUMERIC_CAUSES, Cause, Storage


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something is watched and not yet acted on, from `onset_step` on."""

    cause: Cause
    onset_step: int


@dataclass(slots=True, kw_only=True)
class Recovery:
    """How a verdict was carried out.

    `seconds` is None for a restart until its first healthy step; it counts from `since_t_s`.
    """

    mechanism: str  # in_place | restart
    restored_step: int
    storage: Storage | None
    steps_lost: int
    since_t_s: float
    skipped_samples: tuple[int, ...] = ()
    seconds: float | None = None


@dataclass(slots=True, kw_only=True)
class Incident:
    """From the first diagnosis until N clean steps past `bad_until_step`.

    `onset_t_s` is when the first bad step was reported, `step_s` the usual time of a step before
    it (None: unknown); `baseline` is the picture of the healthy run before it. `steps_lost` adds up
    over all its recoveries: one that strikes again at the same step is the same incident.
    """

    id: str
    cause: Cause
    onset_step: int
    bad_until_step: int
    onset_t_s: float
    step_s: float | None
    baseline: Baseline | None
    is_acted_on: bool = False
    steps_lost: int = 0
    recovery: Recovery | None = None
    clean_steps: int = 0
    passed_t_s: float | None = None
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=64))

    @property
    def is_numeric(self) -> bool:
        """Whether the numbers are at fault."""
        return self.cause in NUMERIC_CAUSES

    @property
    def is_recovered(self) -> bool:
        """Whether the run trains again after the intervention."""
        return self.recovery is not None and self.recovery.seconds is not None


def incident_id(run_id: str, cause: Cause, first_bad_step: int) -> str:
    """Return the name of an incident: `run_id/cause/first_bad_step`."""
    return f"{run_id or 'run'}/{cause.value}/{first_bad_step}"
