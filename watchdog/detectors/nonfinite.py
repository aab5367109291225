"""A burst of NaN or infinity: k of the newest n steps, or weights that already are not finite.

A single bad step is skipped by the worker's reflex and is no finding: mixed precision has one now
and then. A burst means that the state of the run is broken, not a batch. A checkpoint whose
weights or optimizer state are not finite needs no second sign.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field, model_validator

from watchdog.findings import Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals


class Config(DetectorConfig):
    """A burst is `min_bad_steps` of `window_steps`."""

    min_bad_steps: int = Field(
        3, ge=1, le=256, description="Non-finite steps in the window that make a burst."
    )
    window_steps: int = Field(8, ge=1, le=256, description="Newest steps looked at.")

    @model_validator(mode="after")
    def _burst_fits_the_window(self) -> Config:
        if self.min_bad_steps > self.window_steps:
            raise ValueError(
                f"min_bad_steps={self.min_bad_steps} never fit in window_steps="
                f"{self.window_steps}; lower the one or raise the other"
            )
        return self


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the burst that is under way, as soon as its last step is known from one rank."""
    bad_steps = tuple(signals.finiteness.newest(config.window_steps))
    if signals.bad_checkpoint_step is not None:
        return _broken_weights(signals.bad_checkpoint_step, bad_steps)
    if len(bad_steps) < config.min_bad_steps:
        return None
    return Finding(
        cause=Cause.NONFINITE,
        level=Level.INCIDENT,
        onset_step=bad_steps[0],
        value=float(len(bad_steps)),
        threshold=float(config.min_bad_steps),
        summary=f"{len(bad_steps)} of the last {config.window_steps} steps were not finite "
        f"(first {bad_steps[0]}, newest {bad_steps[-1]}; limit is "
        f"detectors.nonfinite.min_bad_steps={config.min_bad_steps})",
        bad_steps=bad_steps,
    )


def _broken_weights(checkpoint_step: int, bad_steps: tuple[int, ...]) -> Finding:
    """The first bad step is no later than the checkpoint, which must not be restored itself."""
    onset_step = min((checkpoint_step, *bad_steps))
    return Finding(
        cause=Cause.NONFINITE,
        level=Level.INCIDENT,
        onset_step=onset_step,
        value=None,
        threshold=None,
        summary=f"the weights or the optimizer state at step {checkpoint_step} are not finite",
        bad_steps=bad_steps,
    )
