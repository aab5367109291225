"""A loss that is constant to the digit, or gradients that are exactly zero: nothing is learned.

A frozen loss whose learning rate has underflowed is told by `lr_underflow`. Must not fire on a loss
that has converged to the last digits that its log shows (0.0012 for twenty epochs is rounding), nor
on gradient norms that faded to zero by rounding.

Source of the defaults: the longest run of equal losses in healthy real logs is 8 records; dead ones
hold for hundreds. The coarsest of them is told with a resolution of 2.1 %, converged ones with 5 %
and more.
A seed project's loss stood at 0.7979 for twenty epochs.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from pydantic import Field

from watchdog.findings import Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals

#: Chosen: records that stand for as many steps are averages, which do not repeat by chance.
_AVERAGED_STRIDE = 50


class Config(DetectorConfig):
    """Counts are records."""

    min_repeats: int = Field(
        24, ge=4, le=4096, description="Equal losses in a row that are a dead loss."
    )
    min_repeated_epochs: int = Field(
        6,
        ge=3,
        le=4096,
        description="As many are enough where each stands for many steps and the validations are "
        "equal as well.",
    )
    max_resolution_ratio: float = Field(
        0.03,
        gt=0,
        lt=1,
        description="A log that shows changes of this share of the loss only hides progress.",
    )
    min_zero_gradients: int = Field(
        4, ge=2, le=8, description="Gradient norms of exactly zero among the newest five or more."
    )


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the dead loss, at the first record that proves it."""
    repeats = signals.repeats
    if repeats.count >= config.min_repeated_epochs and _is_frozen(signals, config):
        return _finding(
            repeats.first_step,
            repeats.value,
            f"loss {repeats.value:.10g} has not changed in any digit for {repeats.count} records, "
            f"from step {repeats.first_step} on; likely no gradient reaches the weights; limit is "
            f"detectors.dead_loss.min_repeats={config.min_repeats}",
        )
    return _zero_gradients(signals, config)


def _is_frozen(signals: Signals, config: Config) -> bool:
    repeats = signals.repeats
    if repeats.count < config.min_repeats:
        checks = signals.repeated_validations.count
        is_averaged = signals.stride >= _AVERAGED_STRIDE
        if not is_averaged or checks < config.min_repeated_epochs:
            return False
    if repeats.value == 0:
        return signals.origin is not None and signals.origin[1] == 0
    finest = config.max_resolution_ratio
    if repeats.count < config.min_repeats:
        finest *= config.min_repeated_epochs / config.min_repeats / 2
    return repeats.resolution_ratio() <= finest


def _zero_gradients(signals: Signals, config: Config) -> Finding | None:
    """Exactly zero at most of the newest steps, without having faded there."""
    gradients = signals.gradients
    newest = list(gradients.newest)[-config.min_zero_gradients - 1 :]
    zeros = [step for step, norm in newest if norm == 0]
    if len(zeros) < config.min_zero_gradients or newest[-1][1] != 0:
        return None
    if any(norm > 0 for _, norm in newest):
        return None
    last = gradients.last_positive
    if last is not None and last < 0.01 * gradients.greatest:
        return None
    return _finding(
        zeros[0],
        0.0,
        f"gradient norm exactly 0 at {len(zeros)} of the last {len(newest)} records, from step "
        f"{zeros[0]} on; likely no gradient reaches the weights; limit is "
        f"detectors.dead_loss.min_zero_gradients={config.min_zero_gradients}",
    )


def _finding(onset_step: int, value: float | None, summary: str) -> Finding:
    return Finding(
        cause=Cause.DEAD_LOSS,
        level=Level.INCIDENT,
        onset_step=onset_step,
        value=value,
        threshold=None,
        summary=summary,
    )
