"""A run stuck at the loss of a constant prediction.

The floor comes from the job: `loss` (measured by a preflight or known), or ln(`classes`) of a
classifier. Without either the detector is silent. Near the floor for one window is a suspicion:
each classifier starts there. For several windows on end it is an incident.

Source of `near_ratio`: a collapsed run of the real logs sits at 4.783 with ln(120) = 4.787, 0.1 %
away, with a spread of 0.01 %. The windows are chosen, not measured.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math

from pydantic import Field

from watchdog.baseline import median
from watchdog.findings import Cadence, Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals

CADENCE = Cadence.BLOCK


class Config(DetectorConfig):
    """What a constant prediction scores; both null: unknown."""

    loss: float | None = Field(None, description="Training loss of the best constant prediction.")
    classes: int | None = Field(
        None, ge=2, description="Number of equally likely classes; the floor is its logarithm."
    )
    near_ratio: float = Field(
        0.01, gt=0, lt=1, description="Distance to the floor, as a share of it, that is near."
    )
    window_steps: int = Field(
        200, ge=16, le=65536, description="Steps near the floor that are a suspicion."
    )
    incident_windows: int = Field(
        4, ge=2, le=64, description="Windows near the floor that are an incident."
    )


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the suspicion or the incident; None away from the floor or without one."""
    floor = config.loss if config.loss is not None else _of_classes(config.classes)
    if floor is None:
        return None
    near = config.near_ratio * abs(floor)
    stay = 0
    onset_step = None
    for block in reversed(signals.curve.blocks):
        if abs(block.loss - floor) > near or block.last_step <= signals.since_step:
            break
        stay += signals.curve.size
        onset_step = block.first_step
    stay_steps = stay * signals.stride
    if onset_step is None or stay < 8 or stay_steps < config.window_steps:
        return None
    is_incident = stay_steps >= config.incident_windows * config.window_steps
    newest = [b.loss for b in signals.curve.blocks[-8:]]
    return Finding(
        cause=Cause.TRIVIAL,
        level=Level.INCIDENT if is_incident else Level.SUSPECT,
        onset_step=onset_step,
        value=median(newest),
        threshold=floor,
        summary=f"loss {median(newest):.4g} has been that of a constant prediction, {floor:.4g}, "
        f"for {stay_steps} steps from step {onset_step} on; likely nothing of the input reaches "
        f"the output; limit is detectors.trivial.window_steps={config.window_steps} x "
        f"incident_windows={config.incident_windows}",
    )


def _of_classes(classes: int | None) -> float | None:
    return None if classes is None else math.log(classes)
