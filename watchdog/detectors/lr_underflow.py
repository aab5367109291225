"""A learning rate that has fallen to nothing, together with a loss that is frozen for it.

A tiny rate alone is noise: many healthy schedules end below 1e-7. A frozen loss alone may have
other reasons and is told by `dead_loss`, a little later than here.

Where each step has other samples, the training loss goes on moving while the weights stand still;
then equal validations tell, which are of the same samples each time.

Source of the defaults: a seed project's rate of 8.88e-21 after forty halvings by a plateau rule; 20
of 171 real runs end below 1e-7 by schedule, and that alone says nothing.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field

from watchdog.findings import Finding, Level
from watchdog.records import Cause
from watchdog.repeats import Repeats
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals


class Config(DetectorConfig):
    """When a rate is nothing."""

    max_lr: float = Field(1e-7, gt=0, description="Rates below this are nothing in absolute terms.")
    max_lr_ratio: float = Field(
        1e-4, gt=0, lt=1, description="They must also be below this share of their peak."
    )
    min_repeats: int = Field(
        12, ge=4, le=4096, description="Records with the loss constant to the digit."
    )
    max_resolution_ratio: float = Field(
        0.03, gt=0, lt=1, description="As in detectors.dead_loss: coarser logs hide progress."
    )
    min_repeated_validations: int = Field(
        3, ge=2, le=4096, description="Validations equal to the digit, which are enough as well."
    )
    max_validation_resolution_ratio: float = Field(
        1e-5,
        gt=0,
        lt=1,
        description="Digits that they must be told with: a log of four repeats itself by rounding.",
    )


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the underflow; silent where the rate is not told."""
    latest = signals.latest
    if latest is None or latest.lr is None:
        return None
    peak = (signals.max_lr or 0.0) * signals.lr_scale
    if not 0 <= latest.lr < min(config.max_lr, config.max_lr_ratio * peak):
        return None
    what = "records"
    frozen = _frozen(signals.repeats, config.min_repeats, config.max_resolution_ratio)
    if frozen is None:
        what = "validations"
        frozen = _frozen(
            signals.repeated_validations,
            config.min_repeated_validations,
            config.max_validation_resolution_ratio,
        )
    if frozen is None:
        return None
    return Finding(
        cause=Cause.LR_UNDERFLOW,
        level=Level.INCIDENT,
        onset_step=frozen.first_step,
        value=latest.lr,
        threshold=config.max_lr,
        summary=f"learning rate {latest.lr:.3g} (peak {peak:.3g}) no longer moves the loss: "
        f"{frozen.value:.10g} for {frozen.count} {what}, from step {frozen.first_step} on; "
        f"likely a schedule without a floor; limit is "
        f"detectors.lr_underflow.max_lr={config.max_lr:g}",
    )


def _frozen(repeats: Repeats, min_count: int, max_resolution_ratio: float) -> Repeats | None:
    """Return the repeats if they are of a loss that stands still, not of one that is rounded."""
    is_long = bool(repeats.value) and repeats.count >= min_count
    return repeats if is_long and repeats.resolution_ratio() <= max_resolution_ratio else None
