"""A run that has stopped improving although its learning rate would let it, or never began to.

*Stalled*: over a large share of the run the loss surely moved by less than is worth waiting for, or
by less than a small part of what it fell before in a stretch as long on a logarithmic scale; and no
validation moves either. Both tests are of equivalence: where the noise is too large to tell they
stay silent. Must not fire while the rate warms up or has annealed, on slow improvement, or on a run
that has reached its target or has converged.

*Never learned*: after many steps the second half of the whole run is no better than the first but
for the noise. Here the schedule is no excuse, and noise is none either: a run that learns falls by
far more than its noise at the start of its life.

The restore target is the best window: `onset_step` is the step after the newest one that is as good
as the best within the noise, so that restoring what was trusted before it keeps what was learned.

Source of the defaults: the real logs labelled plateau (`python -m bench.judgement`). Those that
never learned stay within 2 % of their start over 40 to 220 records; of one with a noise of a fifth
and 50 records nothing can be told, and it is missed. `window_ratio` and `min_improvement_ratio` are
chosen so that none of the healthy runs with a long tail at constant rate is called stuck.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field

from watchdog.baseline import median
from watchdog.curve import Block, regroup
from watchdog.findings import Cadence, Finding, Level
from watchdog.records import Cause
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals
from watchdog.slowdown import slowdown
from watchdog.trend import (
    Progress,
    kendall_z,
    noise,
    progress,
    robust_noise,
    robust_progress,
    scale,
)
from watchdog.validations import LEAST_MOVE, Validation, is_moving, metrics, series

CADENCE = Cadence.BLOCK

_BLOCKS = 16
#: Chosen: one-sided 99.4 %; a plateau must be certain, because acting on progress costs progress.
_STANDARD_ERRORS = 2.5
#: Windows that are tried, as multiples of the least: a longer one is less noisy.
_WINDOWS = (1.0, 1.5, 2.0)
#: Newest shares of the run whose fall is compared with that of the stretch before.
_SHARES = (0.4, 0.5, 0.6)
#: Chosen: two-sided 95 %; what a run that learns shows long before its loss is called stuck.
_LEARNED_ERRORS = 2.0


class Config(DetectorConfig):
    """Windows are optimizer steps, but of logs with one record for many steps: see the fields."""

    window_steps: int = Field(
        400, ge=4 * _BLOCKS, le=65536, description="Least steps over which progress is looked for."
    )
    window_records: int = Field(
        48, ge=_BLOCKS, le=256, description="Least records of a log over which it is looked for."
    )
    window_validations: int = Field(
        12, ge=6, le=256, description="Least validations over which progress is looked for."
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
    min_learned_ratio: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="Improvement of the second half of the whole run over the first below which "
        "it has not learned anything.",
    )
    max_error_ratio: float = Field(
        0.03,
        gt=0,
        lt=1,
        description="Standard error of that improvement beyond which nothing can be told.",
    )
    learning_steps: int = Field(
        800, ge=64, le=65536, description="Least steps after which a run must have learned."
    )
    learning_records: int = Field(
        40, ge=8, le=1024, description="Least records after which a run must have learned."
    )
    stalled_ratio: float = Field(
        0.33,
        gt=0,
        lt=1,
        description="Share of its earlier fall, by the logarithm of the step, that a run must "
        "surely keep below to have stalled. Measured: healthy runs show 0.35 and more; runs made "
        "flat 0.01 to 0.3 by thrice the steps, where their noise lets anything be told.",
    )
    converged_ratio: float = Field(
        0.001,
        ge=0,
        lt=1,
        description="A positive loss down to this share of its start has converged: it is flat "
        "because little is left.",
    )
    saturated_metric: float = Field(
        0.97,
        gt=0,
        le=1,
        description="A metric that is a share (or a percentage) at or above this has converged.",
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


def detect(signals: Signals, config: Config) -> Finding | None:
    """Return the plateau; looked for now and then past a full window, and at each validation."""
    if signals.is_block_due:
        finding = _never_learned(signals, config)
        if finding is not None:
            return finding
    if not _may_improve(signals, config):
        return None
    if signals.is_block_due:
        finding = _flat_loss(signals, config)
        if finding is not None:
            return finding
    return _flat_validation(signals, config) if signals.has_new_validation else None


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


def _never_learned(signals: Signals, config: Config) -> Finding | None:
    """Judge the whole run: its newest half against its first losses, and for any trend."""
    records = max(config.learning_records, math.ceil(config.learning_steps / signals.stride))
    whole = signals.curve.blocks
    if signals.stride == 1 or min(signals.age_steps, signals.comparable_steps) < records:
        return None
    if len(whole) < 8 or not signals.start or not _is_whole(whole):
        return None
    newest = [block.loss for block in whole[len(whole) // 2 :]]
    start = median(signals.start)
    moved = scale([start, median(newest)])
    spread = robust_noise(scale(newest)) * math.sqrt(2 / len(signals.start))
    if moved[0] - moved[1] >= max(config.min_learned_ratio, _LEARNED_ERRORS * spread):
        return None
    grouped = [block.loss for block in regroup(whole, 2 * _BLOCKS)]
    halves = robust_progress(grouped)
    if halves.error > config.max_error_ratio:
        return None
    if halves.fall > config.min_learned_ratio and kendall_z(grouped) < -_LEARNED_ERRORS:
        return None
    checks = signals.validations
    if is_moving(list(checks)) or _is_converged(signals, newest[-1], list(checks), config):
        return None
    return _finding(
        best_step=_newest_best([(b.last_step, b.loss) for b in whole]),
        moved=halves,
        least=config.min_learned_ratio,
        setting="min_learned_ratio",
        what=f"loss {median(newest):.4g} is no better than the first {len(signals.start)} were, "
        f"{start:.4g}, after {signals.age_steps} records, and shows no trend: nothing was learned",
    )


def _is_whole(blocks: Sequence[Block]) -> bool:
    """Whether the log begins near the start of the run: a resumed run has learned before."""
    first, last = blocks[0].first_step, blocks[-1].last_step
    return first <= last - first


def _flat_loss(signals: Signals, config: Config) -> Finding | None:
    count = max(
        config.window_records,
        math.ceil(config.window_steps / signals.stride),
        math.ceil(config.window_ratio * _age_records(signals)),
    )
    for share in _WINDOWS:
        found = _flat_window(signals, math.ceil(share * count), config)
        if found is not None:
            return found
    return _slower(signals, count, config) if signals.excursion is None else None


def _age_records(signals: Signals) -> int:
    """Return how old the run is in records, those before the log began included."""
    newest = signals.latest.step if signals.latest is not None else 0
    return max(signals.age_steps, newest // signals.stride)


def _slower(signals: Signals, count: int, config: Config) -> Finding | None:
    """Judge by the run's own earlier progress; windows are shares of what can be compared."""
    blocks = [b for b in signals.curve.blocks if b.first_step > signals.since_step]
    for share in _SHARES:
        window = blocks[round(len(blocks) * (1 - share)) :]
        if len(window) * signals.curve.size < count:
            continue
        found = slowdown(blocks, share, _LEARNED_ERRORS)
        least, ratio = config.min_improvement_ratio, config.stalled_ratio
        if found is None or not found.is_stalled(ratio, least, _STANDARD_ERRORS):
            continue
        checks = [v for v in signals.validations if v.step >= window[0].first_step]
        if is_moving(checks) or _is_converged(signals, window[-1].loss, checks, config):
            return None
        return _finding(
            best_step=_newest_best(_block_ends(signals.curve.blocks, len(window) // _BLOCKS)),
            moved=found.newest,
            least=config.stalled_ratio,
            setting="stalled_ratio",
            what=f"loss fell by {found.newest.fall:.2%} (standard error {found.newest.error:.2%}) "
            f"between the halves of the newest {share:.0%} of the run, where the stretch before "
            f"it fell by {found.earlier_fall:.2%}",
        )
    return None


def _flat_window(signals: Signals, count: int, config: Config) -> Finding | None:
    if signals.comparable_steps < count:
        return None
    newest = signals.curve.newest(count)
    window = regroup(newest, _BLOCKS)
    if len(window) < _BLOCKS:
        return None
    moved = progress([block.loss for block in window])
    if not moved.is_surely_flat(config.min_improvement_ratio, _STANDARD_ERRORS):
        return None
    checks = [v for v in signals.validations if v.step >= window[0].first_step]
    if is_moving(checks) or _is_converged(signals, window[-1].loss, checks, config):
        return None
    return _finding(
        best_step=_newest_best(_block_ends(signals.curve.blocks, len(newest) // _BLOCKS)),
        moved=moved,
        least=config.min_improvement_ratio,
        setting="min_improvement_ratio",
        what=f"loss fell by {moved.fall:.2%} (standard error {moved.error:.2%}) between the halves "
        f"of the last {count} records",
    )


def _flat_validation(signals: Signals, config: Config) -> Finding | None:
    count = max(
        config.window_validations, math.ceil(config.window_ratio * len(signals.validations))
    )
    checks = [v for v in signals.validations if v.step > signals.since_step][-count:]
    found = series(checks)
    if len(found) < count or not _is_long(signals, checks, config) or is_moving(checks):
        return None
    values = [value for _, value in found]
    moved = min(progress(values), robust_progress(values), key=lambda p: p.error)
    if not moved.is_surely_flat(config.min_improvement_ratio, _STANDARD_ERRORS):
        return None
    since = [b.loss for b in signals.curve.blocks if b.first_step > checks[0].step]
    if _is_falling(since) or _is_converged(
        signals, since[-1] if since else math.inf, checks, config
    ):
        return None
    return _finding(
        best_step=_newest_best(found),
        moved=moved,
        least=config.min_improvement_ratio,
        setting="min_improvement_ratio",
        what=f"validation improved by {moved.fall:.2%} (standard error {moved.error:.2%}) between "
        f"the halves of the last {count} validations, and the loss did not fall",
    )


def _finding(*, best_step: int, moved: Progress, least: float, setting: str, what: str) -> Finding:
    return Finding(
        cause=Cause.PLATEAU,
        level=Level.INCIDENT,
        onset_step=best_step + 1,
        value=moved.fall,
        threshold=least,
        summary=f"{what}; best up to step {best_step}; limit is detectors.plateau.{setting}="
        f"{least:g}",
    )


def _block_ends(blocks: list[Block], per_group: int) -> list[tuple[int, float]]:
    """Return (last step, loss) of the curve in groups as large as those of the window."""
    groups = regroup(blocks, max(1, len(blocks) // max(1, per_group)))
    return [(group.last_step, group.loss) for group in groups]


def _newest_best(found: Sequence[tuple[int, float]]) -> int:
    """Return the newest step whose value is the best but for the noise."""
    values = [value for _, value in found]
    limit = min(values) + noise(values)
    return max(step for step, value in found if value <= limit)


def _is_long(signals: Signals, checks: Sequence[Validation], config: Config) -> bool:
    """Whether the validations lie far enough apart: a check at every step says little."""
    records = sum(1 for judged in signals.history if judged.step >= checks[0].step)
    span_steps = max(records * signals.stride, checks[-1].step - checks[0].step)
    return span_steps >= config.window_steps


def _is_falling(values: Sequence[float]) -> bool:
    if len(values) < 4:
        return False
    moved = progress(values)
    return moved.fall > LEAST_MOVE and moved.is_surely_above(0.0, _LEARNED_ERRORS)


def _is_converged(
    signals: Signals, loss: float, checks: Sequence[Validation], config: Config
) -> bool:
    if config.target_loss is not None and loss <= config.target_loss:
        return True
    start = median(signals.start) if signals.start else 0.0
    if 0 < loss <= config.converged_ratio * start:
        return True
    best = max((value for _, value in metrics(checks)), default=-math.inf)
    if config.saturated_metric <= best <= 1 or 100 * config.saturated_metric <= best <= 100:
        return True
    return config.target_metric is not None and best >= config.target_metric
