"""A run that has stopped improving although its learning rate would let it.

Fires only when the data can tell: the improvement over the window, plus twice its standard error,
must be smaller than the least improvement worth waiting for. It works on medians of blocks of step
losses and on validations; where both speak, neither may show progress. Must not fire while the rate
warms up or has annealed, on slow improvement, or on a run that has reached its target.

The restore target is the best window: `onset_step` is the step after the newest one that is as good
as the best within the noise, so that restoring what was trusted before it keeps what was learned.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from watchdog.curve import regroup
from watchdog.findings import Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals, Validation
from watchdog.steps import mean

_BLOCKS = 16
#: Chosen: one-sided 97.7 %; a plateau must be certain, because acting on progress costs progress.
_STANDARD_ERRORS = 2.0


class Config(DetectorConfig):
    """Windows are counted in steps (of a foreign log: its records)."""

    window_steps: int = Field(
        400, ge=4 * _BLOCKS, le=65536, description="Least steps over which progress is looked for."
    )
    window_validations: int = Field(
        10, ge=6, le=256, description="Least validations over which progress is looked for."
    )
    window_ratio: float = Field(
        0.4,
        ge=0,
        le=1,
        description="Least window as a share of the run so far: losses fall like a power of the "
        "step, so what is slow progress for a young run is fast for an old one.",
    )
    min_improvement_ratio: float = Field(
        0.005,
        gt=0,
        lt=1,
        description="Improvement of the second half of the window over the first that is worth "
        "waiting for, as a share of the value.",
    )
    min_lr_ratio: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Below this share of its peak the rate has annealed, and no loss falls much.",
    )
    target_loss: float | None = Field(
        None, description="A loss at or below this has converged; null: no target."
    )
    target_metric: float | None = Field(
        None, description="A validation metric at or above this has converged; null: no target."
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """By how much a series fell between the halves of a window, and the standard error of that.

    In log units where all values are positive, else relative to the mean magnitude.
    """

    fall: float
    error: float

    def is_surely_below(self, least: float) -> bool:
        """Whether the fall is below `least` beyond doubt."""
        return self.fall + _STANDARD_ERRORS * self.error < least

    def is_surely_above(self, least: float) -> bool:
        """Whether the fall is above `least` beyond doubt."""
        return self.fall - _STANDARD_ERRORS * self.error > least


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the plateau; looked for now and then past a full window, and at each validation."""
    is_block_full = signals.comparable_steps % (config.window_steps // _BLOCKS) == 0
    if not (is_block_full or signals.has_new_validation) or not _may_improve(signals, config):
        return None
    window_steps = max(config.window_steps, math.ceil(config.window_ratio * signals.age_steps))
    if is_block_full and signals.comparable_steps >= window_steps:
        finding = _flat_loss(signals, window_steps, config)
        if finding is not None:
            return finding
    if signals.has_new_validation:
        return _flat_validation(signals, config)
    return None


def progress(values: Sequence[float]) -> Progress:
    """Return how far a series of at least four values fell; trends and outliers cancel out."""
    scaled = _scaled(values)
    half = len(scaled) // 2
    falls = (mean(scaled[:half]) or 0.0) - (mean(scaled[half:]) or 0.0)
    return Progress(falls, math.sqrt(2 / half) * _noise(scaled))


def _scaled(values: Sequence[float]) -> list[float]:
    if min(values) > 0:
        return [math.log(value) for value in values]
    size = mean([abs(value) for value in values]) or 1.0
    return [value / size for value in values]


def _noise(values: Sequence[float]) -> float:
    """Return the standard deviation about the trend.

    Source: von Neumann et al. 1941, the mean square successive difference.
    """
    squares = [(b - a) * (b - a) for a, b in itertools.pairwise(values)]
    return math.sqrt(max(0.0, (mean(squares) or 0.0) / 2))


def _may_improve(signals: Signals, config: Config) -> bool:
    """Whether the job's schedule is neither warming up nor annealed; unknown rates are let pass.

    A rate that is far below its schedule is a fault, not annealing.

    Each rise of the rate starts the window anew, so warming up needs no rule of its own.
    """
    latest = signals.latest
    own_lr = latest.own_lr(signals.lr_scale) if latest is not None else None
    if own_lr is None or signals.max_lr is None:
        return True
    return own_lr >= config.min_lr_ratio * signals.max_lr


def _flat_loss(signals: Signals, window_steps: int, config: Config) -> Finding | None:
    newest = signals.curve.newest(window_steps)
    window = regroup(newest, _BLOCKS)
    if len(window) < _BLOCKS:
        return None
    moved = progress([block.loss for block in window])
    if not moved.is_surely_below(config.min_improvement_ratio):
        return None
    checks = [v for v in signals.validations if v.step >= window[0].first_step]
    if _is_validation_improving(checks) or _is_converged(window[-1].loss, checks, config):
        return None
    whole = signals.curve.blocks
    blocks = regroup(whole, len(whole) // (len(newest) // _BLOCKS))
    return _finding(
        best_step=_newest_best([(block.last_step, block.loss) for block in blocks]),
        moved=moved,
        least=config.min_improvement_ratio,
        what=f"loss fell by {moved.fall:.2%} (standard error {moved.error:.2%}) between the halves "
        f"of the last {window_steps} steps",
    )


def _flat_validation(signals: Signals, config: Config) -> Finding | None:
    count = max(
        config.window_validations, math.ceil(config.window_ratio * len(signals.validations))
    )
    checks = [v for v in signals.validations if v.step > signals.since_step][-count:]
    series = _series(checks)
    if len(series) < count:
        return None
    moved = progress([value for _, value in series])
    if not moved.is_surely_below(config.min_improvement_ratio):
        return None
    since = [b.loss for b in signals.curve.blocks if b.first_step > checks[0].step]
    if _is_falling(since) or _is_converged(since[-1] if since else math.inf, checks, config):
        return None
    return _finding(
        best_step=_newest_best(series),
        moved=moved,
        least=config.min_improvement_ratio,
        what=f"validation improved by {moved.fall:.2%} (standard error {moved.error:.2%}) between "
        f"the halves of the last {count} validations, and the loss did not fall",
    )


def _finding(*, best_step: int, moved: Progress, least: float, what: str) -> Finding:
    return Finding(
        cause=Cause.PLATEAU,
        level=Level.INCIDENT,
        onset_step=best_step + 1,
        value=moved.fall,
        threshold=least,
        summary=f"{what}; best up to step {best_step}; the rate has not annealed, limit is "
        f"detectors.plateau.min_improvement_ratio={least:g}",
    )


def _series(checks: Sequence[Validation]) -> list[tuple[int, float]]:
    """Return (step, value) of the validations, lower is better; the metric where there is one."""
    metrics = [(v.step, -v.metric) for v in checks if v.metric is not None]
    losses = [(v.step, v.loss) for v in checks if v.loss is not None]
    chosen = metrics if len(metrics) >= len(losses) else losses
    return [(step, value) for step, value in chosen if math.isfinite(value)]


def _newest_best(series: Sequence[tuple[int, float]]) -> int:
    """Return the newest step whose value is the best but for the noise."""
    values = [value for _, value in series]
    limit = min(values) + _noise(values)
    return max(step for step, value in series if value <= limit)


def _is_validation_improving(checks: Sequence[Validation]) -> bool:
    return _is_falling([value for _, value in _series(checks)])


def _is_falling(values: Sequence[float]) -> bool:
    return len(values) >= 4 and progress(values).is_surely_above(0.0)


def _is_converged(loss: float, checks: Sequence[Validation], config: Config) -> bool:
    if config.target_loss is not None and loss <= config.target_loss:
        return True
    metrics = [v.metric for v in checks if v.metric is not None]
    return config.target_metric is not None and max(metrics, default=-math.inf) >= (
        config.target_metric
    )
