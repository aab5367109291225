"""A suspicion, an incident, and what became of them; plain state that the judge moves along.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from watchdog.baseline import Baseline
from watchdog.records import (
    HARMLESS_CAUSES,
    NUMERIC_CAUSES,
    AttemptStarted,
    Cause,
    RollbackDone,
    Storage,
    Verdict,
)

#: Chosen: as many losses after an intervention as the baseline rests on before it.
MAX_LOSSES = 64


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something is watched and not yet acted on, from `onset_step` on.

    `samples` are those of its worst step, and `excess` how far the loss there was above the
    forecast, in robust standard deviations (None: unknown).
    """

    cause: Cause
    onset_step: int
    samples: tuple[int, ...] = ()
    excess: float | None = None


@dataclass(slots=True, kw_only=True)
class Recovery:
    """How a verdict was carried out.

    `seconds` is None for a restart until its first healthy step; it counts from `since_t_s`.
    """

    mechanism: str  # in_place | restart
    tier: str | None = None  # of a restart
    restored_step: int
    storage: Storage | None
    steps_lost: int
    since_t_s: float
    skipped_samples: tuple[int, ...] = ()
    seconds: float | None = None


@dataclass(slots=True, kw_only=True)
class Incident:
    """From the first diagnosis until N clean steps past `bad_until_step`.

    `step_s` is the usual time of a step before it (None: unknown), `bad_steps` those whose batches
    are to blame; `baseline` is the picture of the healthy run before it. `steps_lost` adds up over
    all its recoveries: one that strikes again at the same step is the same incident.
    `lr_scale` was in force before it, `trials` compare the learning rates that were tried on it.
    `fault_t_s` is when the fault struck at the earliest; `decided_t_s` is when the verdict was made
    that the run does not train again after yet.
    """

    id: str
    cause: Cause
    onset_step: int
    bad_until_step: int
    fault_t_s: float
    step_s: float | None
    bad_steps: tuple[int, ...] = ()
    baseline: Baseline | None = None
    lr_scale: float = 1.0
    trials: tuple[Mapping[str, Any], ...] = ()
    is_acted_on: bool = False
    steps_lost: int = 0
    recovery: Recovery | None = None
    decided_t_s: float | None = None
    clean_steps: int = 0
    passed_t_s: float | None = None
    losses: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_LOSSES))

    @property
    def is_numeric(self) -> bool:
        """Whether the numbers are at fault."""
        return self.cause in NUMERIC_CAUSES

    @property
    def is_damaging(self) -> bool:
        """Whether what is saved from the first bad step on is bad as well."""
        return self.is_numeric and self.cause not in HARMLESS_CAUSES

    @property
    def is_recovered(self) -> bool:
        """Whether the run trains again after the intervention."""
        return self.recovery is not None and self.recovery.seconds is not None


def recovered_in_place(record: RollbackDone) -> Recovery:
    """Return the recovery that all ranks report to have carried out."""
    return Recovery(
        mechanism="in_place",
        restored_step=record.restored_step,
        storage=record.storage,
        steps_lost=record.steps_lost,
        since_t_s=record.t_s,
        skipped_samples=tuple(record.skipped_samples),
        seconds=record.seconds,
    )


def recovering_by_restart(
    record: AttemptStarted, verdict: Verdict, *, newest_step: int, since_t_s: float
) -> Recovery:
    """Return the recovery by an attempt that just started; it goes on until its first step."""
    return Recovery(
        mechanism="restart",
        tier=record.tier,
        restored_step=record.restored_step,
        storage=record.storage,
        steps_lost=max(0, newest_step - record.restored_step),
        since_t_s=since_t_s,
        skipped_samples=tuple(verdict.skip_samples),
    )


def incident_id(run_id: str, cause: Cause, first_bad_step: int) -> str:
    """Return the name of an incident: `run_id/cause/first_bad_step`."""
    return f"{run_id or 'run'}/{cause.value}/{first_bad_step}"
