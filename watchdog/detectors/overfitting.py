"""Validation that gets worse while the training loss goes on falling: told, not acted on.

Must not fire where the validation metric still improves: a rising validation loss with a rising
accuracy is over-confidence, not harm (speech, grokking). Early stopping is for the job to decide.

Source of the defaults: of the real logs labelled overfitting all but one rise by 18 % and more
above their best; that one, by 1 %, is not seen.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field

from watchdog.baseline import median
from watchdog.findings import Cadence, Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals
from watchdog.trend import robust_noise, scale
from watchdog.validations import losses, metrics

CADENCE = Cadence.BLOCK


class Config(DetectorConfig):
    """The gap between validation and training."""

    window_validations: int = Field(
        3, ge=2, le=64, description="Newest validations that must all be worse than the best."
    )
    min_rise_ratio: float = Field(
        0.05, gt=0, description="Rise of the validation loss above its best that counts."
    )
    noise_sigmas: float = Field(
        2.0, gt=0, description="Standard deviations of the validations that it must exceed."
    )


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the suspicion while validation is worse than its best and training is not."""
    checks = losses(signals.validations)
    if len(checks) < config.window_validations + 2 or signals.is_validation_only:
        return None
    values = scale([loss for _, loss in checks])
    best = min(range(len(values)), key=values.__getitem__)
    newest = values[-config.window_validations :]
    limit = max(config.min_rise_ratio, config.noise_sigmas * robust_noise(values))
    if len(values) - best <= config.window_validations or min(newest) < values[best] + limit:
        return None
    best_step = checks[best][0]
    if not _is_training_better(signals, best_step) or _is_metric_better(signals, best_step):
        return None
    return Finding(
        cause=Cause.OVERFITTING,
        level=Level.SUSPECT,
        onset_step=checks[best + 1][0],
        value=checks[-1][1],
        threshold=checks[best][1],
        summary=f"validation loss {checks[-1][1]:.4g} at step {checks[-1][0]} is above its best, "
        f"{checks[best][1]:.4g} at step {best_step}, and the training loss fell since; likely "
        f"overfitting; limit is detectors.overfitting.min_rise_ratio={config.min_rise_ratio:g}",
    )


def _is_training_better(signals: Signals, step: int) -> bool:
    before = [b.loss for b in signals.curve.blocks if b.last_step <= step]
    after = [b.loss for b in signals.curve.blocks if b.first_step > step]
    if not before or not after:
        return False
    return median(after[-3:]) < median(before[-3:])


def _is_metric_better(signals: Signals, step: int) -> bool:
    found = metrics(signals.validations)
    before = [value for at, value in found if at <= step]
    after = [value for at, value in found if at > step]
    return bool(before and after) and median(after[-3:]) > max(before)
