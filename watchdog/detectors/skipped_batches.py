"""Too many optimizer steps skipped: the run goes on, but on a part of its data.

Mixed precision skips a step now and then; a burst is told by `nonfinite`. Below `warn_ratio` it is
fine, above `max_ratio` the run is not what was asked for.

The defaults are those the project was asked for: under 5 % is fine, above 20 % is critical.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field, model_validator

from watchdog.findings import Cadence, Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals

CADENCE = Cadence.BLOCK


class Config(DetectorConfig):
    """Shares of the newest `window_steps`."""

    window_steps: int = Field(100, ge=20, le=512, description="Newest steps counted.")
    warn_ratio: float = Field(0.05, gt=0, lt=1, description="Share skipped that is suspect.")
    max_ratio: float = Field(0.2, gt=0, lt=1, description="Share skipped that is an incident.")

    @model_validator(mode="after")
    def _warning_comes_first(self) -> Config:
        if self.warn_ratio > self.max_ratio:
            raise ValueError(
                f"warn_ratio={self.warn_ratio:g} is above max_ratio={self.max_ratio:g}; lower it"
            )
        return self


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the suspicion or the incident, over a full window."""
    window = [
        j for j in list(signals.history)[-config.window_steps :] if j.step > signals.since_step
    ]
    if len(window) < config.window_steps:
        return None
    skipped = [judged.step for judged in window if not judged.is_applied]
    ratio = len(skipped) / len(window)
    if ratio <= config.warn_ratio:
        return None
    is_incident = ratio > config.max_ratio
    limit = config.max_ratio if is_incident else config.warn_ratio
    name = "max_ratio" if is_incident else "warn_ratio"
    return Finding(
        cause=Cause.SKIPPED_BATCHES,
        level=Level.INCIDENT if is_incident else Level.SUSPECT,
        onset_step=skipped[0],
        value=ratio,
        threshold=limit,
        summary=f"{ratio:.0%} of the last {len(window)} optimizer steps were skipped, from step "
        f"{skipped[0]} on; likely gradients that overflow; limit is "
        f"detectors.skipped_batches.{name}={limit:g}",
    )
