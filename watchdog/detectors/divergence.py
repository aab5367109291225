"""A loss that is worse than where it began, gave back what it had learned, or rises slowly.

*Worse than the start*: for `patience_steps` losses on end above the first one by more than noise,
and not on the way back: the harmless bump of the first steps without a rate warm-up is shorter, or
comes down. *Lost*: as long, back at nearly the level of the start after real progress. *Drift*: the
level of a large share of the run lies far above the best level before it. *Validation*: worse than
the first one ever since, while the training loss is no better than it began either.

Must not fire while validations improve: a curriculum may raise the training loss a hundredfold.
Where only the validation suffers and the training loss falls, that is overfitting, not divergence.

Source of the defaults: the real logs labelled divergence that rise at once do so by 20 % and more,
and stay up for 27 records and more; healthy ones stay a tenth above their first loss for 4 records
at most, but for one whose losses differ by a factor of ten. Between two drops of the rate, averaged
losses of healthy classifiers rise by two fifths, hence `min_drift_ratio` for logs with many steps a
record.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice, pairwise

from pydantic import Field

from watchdog.baseline import median
from watchdog.curve import regroup
from watchdog.findings import Cadence, Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals
from watchdog.trend import noise, robust_noise, scale
from watchdog.validations import is_improving_since, losses

CADENCE = Cadence.BLOCK

_GROUPS = 32


class Config(DetectorConfig):
    """Ratios are rises of the loss: of the logarithm where losses are positive."""

    patience_steps: int = Field(24, ge=8, le=256, description="Newest losses that must all be bad.")
    worse_ratio: float = Field(
        0.1, gt=0, description="Rise above the first loss that is no harmless bump."
    )
    lost_ratio: float = Field(
        0.8, gt=0, le=1, description="Share of all progress that a run must have given back."
    )
    noise_sigmas: float = Field(
        4.0, gt=0, description="What a rise must exceed, in standard deviations of the loss."
    )
    healing_ratio: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="A loss whose rise fell below this share in half the patience is coming back.",
    )
    min_drift_ratio: float = Field(
        0.5, gt=0, description="Slow rise of a log with many steps a record that is a drift."
    )
    min_step_drift_ratio: float = Field(
        0.05, gt=0, description="Slow rise of a log of every step that is a drift."
    )
    min_drift_steps: int = Field(
        512, ge=64, le=65536, description="Least losses of a log of every step that can drift."
    )
    drift_share: float = Field(
        0.125, gt=0, le=0.5, description="Newest share of the run that must lie above."
    )
    window_validations: int = Field(
        10, ge=4, le=256, description="Newest validations that must be worse than the first."
    )


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the divergence, by the first of the rules that sees one."""
    found = _risen(signals, config) or _drifted(signals, config)
    if found is not None and not is_improving_since(signals.validations, found.onset_step):
        return found
    return _worse_validation(signals, config) if signals.has_new_validation else None


def _risen(signals: Signals, config: Config) -> Finding | None:
    """Worse than the start, or back at it."""
    if signals.origin is None:
        return None
    newest = _newest(signals, config.patience_steps)
    if len(newest) < config.patience_steps or _is_followed(signals, newest[0][0]):
        return None
    best = min((b.loss for b in signals.curve.blocks), default=signals.origin[1])
    start, floor, *values = scale([signals.origin[1], best, *(loss for _, loss in newest)])
    spread = config.noise_sigmas * robust_noise(values)
    limit = start + max(config.worse_ratio, spread)
    what = "above the first loss"
    if start - floor > max(config.worse_ratio, 2 * spread):
        limit = min(limit, floor + config.lost_ratio * (start - floor))
        what = "back near the first loss"
    if min(values) < limit or _is_healing(values, min(start, limit), config):
        return None
    return _finding(
        newest[0][0],
        newest[-1][1],
        signals.origin[1],
        f"the last {len(newest)} losses, {newest[-1][1]:.4g} at step {newest[-1][0]}, are {what} "
        f"{signals.origin[1]:.4g} of step {signals.origin[0]} without coming down; likely too high "
        f"a rate; limit is detectors.divergence.patience_steps={config.patience_steps}",
    )


def _is_followed(signals: Signals, step: int) -> bool:
    """Whether `spike` is following these losses already: it knows better where they began."""
    excursion = signals.excursion
    return excursion is not None and len(excursion) > 0 and excursion[0][0] <= step


def _is_healing(values: Sequence[float], base: float, config: Config) -> bool:
    half = len(values) // 2
    before, now = median(values[:half]) - base, median(values[half:]) - base
    return before > 0 and now <= config.healing_ratio * before


def _drifted(signals: Signals, config: Config) -> Finding | None:
    baseline = signals.baseline
    blocks = [b for b in signals.curve.blocks if b.first_step > signals.since_step]
    if baseline is None or len(blocks) < _GROUPS:
        return None
    if signals.stride == 1 and len(blocks) * signals.curve.size < config.min_drift_steps:
        return None
    groups = regroup(blocks, _GROUPS)
    values = scale([group.loss for group in groups])
    count = math.ceil(config.drift_share * _GROUPS)
    best = min(range(len(values) - count), key=values.__getitem__)
    least = config.min_step_drift_ratio if signals.stride == 1 else config.min_drift_ratio
    spread = baseline.noise if baseline.is_log else 0.0
    limit = values[best] + max(least, config.noise_sigmas * noise(values), 2 * spread)
    newest = values[-count:]
    if min(newest) < limit or newest[-1] <= newest[0] or _is_jump(values[best:]):
        return None
    onset = next(
        g for g, v in islice(zip(groups, values, strict=True), best + 1, None) if v >= limit
    )
    return _finding(
        onset.first_step,
        groups[-1].loss,
        groups[best].loss,
        f"the loss has drifted from {groups[best].loss:.4g} at step {groups[best].last_step} to "
        f"{groups[-1].loss:.4g} at step {groups[-1].last_step}; likely too high a rate or data "
        f"that changed; limit is a rise of {limit - values[best]:.2%} for "
        f"detectors.divergence.drift_share={config.drift_share:g} of the run",
    )


def _is_jump(values: Sequence[float]) -> bool:
    """Whether one step made most of the rise: that is for `spike` to follow."""
    return max(b - a for a, b in pairwise(values)) > 0.5 * (max(values) - values[0])


def _worse_validation(signals: Signals, config: Config) -> Finding | None:
    checks = losses(signals.validations)
    newest = checks[-config.window_validations :]
    train = _newest(signals, 3)
    if len(checks) <= config.window_validations or not train or not signals.start:
        return None
    if median([loss for _, loss in train]) < signals.start[0]:
        return None
    first = checks[0][1]
    start, *values = scale([first, *(loss for _, loss in newest)])
    if min(values) < start + config.worse_ratio:
        return None
    return _finding(
        newest[0][0],
        newest[-1][1],
        first,
        f"the last {len(newest)} validations, {newest[-1][1]:.4g} at step {newest[-1][0]}, are "
        f"worse than the first, {first:.4g}, and the training loss is no better than it began; "
        f"limit is detectors.divergence.window_validations={config.window_validations}",
    )


def _newest(signals: Signals, count: int) -> list[tuple[int, float]]:
    found: list[tuple[int, float]] = []
    for judged in reversed(signals.history):
        if len(found) == count or judged.step <= signals.since_step:
            break
        if judged.loss is not None and math.isfinite(judged.loss):
            found.append((judged.step, judged.loss))
    return found[::-1]


def _finding(onset_step: int, value: float, threshold: float, summary: str) -> Finding:
    return Finding(
        cause=Cause.DIVERGENCE,
        level=Level.INCIDENT,
        onset_step=onset_step,
        value=value,
        threshold=threshold,
        summary=summary,
    )
