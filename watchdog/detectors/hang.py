"""A hang: every rank is alive and says so, and the one the others wait for does not move.

The deadline knows the phase. A step may take a multiple of what steps have taken in this run; a
validation or a checkpoint a multiple of the longest so far; what has no history yet (a start, the
first step of an attempt with its compilation, the first validation) has a ceiling of its own. A
rank that is not heard of makes the watchdog blind, not sure: a paused process, a debugger and lost
messages look alike. Then nothing is done here, and the collective's own time-out is the backstop.

A machine that sleeps or is paused stops the clocks this rests on, so waking up is no hang.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field, model_validator

from watchdog.findings import Cadence, Finding, Level
from watchdog.records import Cause, WorkerPhase
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals
from watchdog.whereabouts import Stuck, ranks_in_words

CADENCE = Cadence.TICK


class Config(DetectorConfig):
    """Deadlines in seconds that a rank spent in the same place, by its own clock."""

    start_s: float = Field(
        900.0,
        gt=0,
        description="For a start and the first step of an attempt: compilation, cold data.",
    )
    min_s: float = Field(
        60.0,
        gt=0,
        description="Least time that is a hang. Chosen: longer than a new shape takes to compile "
        "or a network disk to come back; a healthy phase that is ended costs more than a minute.",
    )
    max_s: float = Field(
        3600.0, gt=0, description="Most, and the deadline of a validation without history."
    )
    factor: float = Field(
        10.0, gt=1, description="Times what this phase has taken so far that is a hang."
    )

    @model_validator(mode="after")
    def _least_is_not_above_most(self) -> Config:
        if self.min_s > self.max_s:
            raise ValueError(f"min_s={self.min_s:g} is above max_s={self.max_s:g}")
        return self


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the hang once the rank furthest behind is past the deadline of its phase."""
    stuck = signals.whereabouts.stuck()
    if stuck is None or stuck.stuck_s < min(config.min_s, config.start_s):
        return None
    deadline_s, name, why = deadline(stuck, signals, config)
    if stuck.stuck_s < deadline_s:
        return None
    return Finding(
        cause=Cause.STALL,
        level=Level.INCIDENT,
        onset_step=stuck.step,
        value=stuck.stuck_s,
        threshold=deadline_s,
        rank=stuck.culprit,
        summary=f"{_who(stuck)} for {stuck.stuck_s:.0f} s in step {stuck.step}{_others(stuck)}; "
        f"{why}, limit is {deadline_s:.3g} s from detectors.hang.{name}={getattr(config, name):g}",
    )


def deadline(stuck: Stuck, signals: Signals, config: Config) -> tuple[float, str, str]:
    """Return the seconds this phase may take, the setting that says so, and on what grounds."""
    times = signals.phase_times
    if stuck.phase is WorkerPhase.STARTING or stuck.is_first_step:
        return config.start_s, "start_s", "the first step of an attempt has no history"
    if stuck.phase in (WorkerPhase.VALIDATE, WorkerPhase.GATHER):
        return _learned(times.longest_validation_s(), "a validation", config)
    if stuck.phase in (WorkerPhase.CHECKPOINT, WorkerPhase.ENDING):
        return _learned(times.longest_checkpoint_s(), "a checkpoint", config)
    usual_s = times.usual_step_s()
    if usual_s is None:
        return config.start_s, "start_s", "too few steps are known"
    return _learned(usual_s, "a step", config)


def _learned(longest_s: float | None, what: str, config: Config) -> tuple[float, str, str]:
    if longest_s is None:
        return config.max_s, "max_s", f"{what} has no history"
    why = f"{what} takes up to {longest_s:.3g} s here"
    wanted_s = config.factor * longest_s
    if wanted_s <= config.min_s:
        return config.min_s, "min_s", why
    if wanted_s >= config.max_s:
        return config.max_s, "max_s", why
    return wanted_s, "factor", why


def _who(stuck: Stuck) -> str:
    names = ranks_in_words(stuck.ranks)
    verb = "has" if len(stuck.ranks) == 1 else "have"
    return f"{names} {verb} not left '{stuck.phase.value}'"


def _others(stuck: Stuck) -> str:
    if stuck.waiting:
        verb = "waits" if len(stuck.waiting) == 1 else "wait"
        return f", and {ranks_in_words(stuck.waiting)} {verb}"
    return " (every rank is in the same place, none is behind)" if len(stuck.ranks) > 1 else ""
