"""Silence: no step, validation or checkpoint for much longer than is usual in this phase.

Told and never acted on here: silence may be a hung collective, a slow disk or a lost message, and
missing telemetry alone is no failure. The deadline learns the pace of the run; before the first
step it is that of a start, and it never undercuts what a validation may take.

The defaults are chosen, not measured: a hundred usual steps, and never less than two minutes, are
more than a slow disk or a first compilation takes; a false alarm here costs a line in the ledger.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field

from watchdog.findings import Cadence, Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals

CADENCE = Cadence.TICK


class Config(DetectorConfig):
    """Deadlines in seconds of silence, added up from tick to tick."""

    start_s: float = Field(
        900.0, gt=0, description="Silence tolerated before the first step of an attempt, in s."
    )
    min_s: float = Field(120.0, gt=0, description="Least silence that counts while training, in s.")
    max_s: float = Field(3600.0, gt=0, description="Silence that always counts, in s.")
    factor: float = Field(
        100.0, gt=1, description="Usual times between two steps that are a stall."
    )


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the stall once silence passed its deadline, until something is heard again."""
    heartbeat = signals.heartbeat
    silence_s = heartbeat.silence_s
    if silence_s < min(config.min_s, config.start_s):
        return None
    usual_s = heartbeat.usual_s
    deadline_s, name = tolerated(signals, config)
    if silence_s < deadline_s:
        return None
    step = signals.latest.step if signals.latest is not None else 0
    usual = "unknown" if usual_s is None else f"{usual_s:.3g} s"
    return Finding(
        cause=Cause.STALL,
        level=Level.SUSPECT,
        onset_step=step + 1,
        value=silence_s,
        threshold=deadline_s,
        summary=f"nothing heard for {silence_s:.0f} s after step {step} ({heartbeat.phase}; a step "
        f"takes {usual}); likely a hung collective or lost telemetry; limit is {deadline_s:.0f} s "
        f"from detectors.stall.{name}={getattr(config, name):g}",
    )


def tolerated(signals: Signals, config: Config) -> tuple[float, str]:
    """Return the silence tolerated in the present phase, in seconds, and the setting behind it."""
    heartbeat = signals.heartbeat
    if heartbeat.phase == "starting" or heartbeat.usual_s is None:
        return config.start_s, "start_s"
    return min(max(config.min_s, config.factor * heartbeat.usual_s), config.max_s), "factor"
