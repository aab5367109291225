"""What validations say of progress; loss: lower is better, metric: either way.

A metric is meant to be higher-is-better, but logs hold error rates under the same name. So a metric
that surely moves, either way, is never called flat; whether it moves for the better is asked of the
loss first.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from watchdog.baseline import median
from watchdog.trend import progress

#: Chosen: one-sided 99.9 %; a claim about validations ends or starts an intervention.
_STANDARD_ERRORS = 3.0
#: Chosen: a rate that is cut to nothing still moves a validation by a few parts in ten thousand,
#: ever the same way; that is no progress (measured on the vesuvius job: 0.6011 to 0.6013).
LEAST_MOVE = 0.001


@dataclass(frozen=True, slots=True)
class Validation:
    """One validation: loss (lower is better) and metric (higher is better), None if not logged."""

    step: int
    loss: float | None
    metric: float | None


def losses(checks: Sequence[Validation]) -> list[tuple[int, float]]:
    """Return (step, finite loss) of the validations that have one."""
    return [(v.step, v.loss) for v in checks if v.loss is not None and math.isfinite(v.loss)]


def metrics(checks: Sequence[Validation]) -> list[tuple[int, float]]:
    """Return (step, finite metric) of the validations that have one."""
    return [(v.step, v.metric) for v in checks if v.metric is not None and math.isfinite(v.metric)]


def series(checks: Sequence[Validation]) -> list[tuple[int, float]]:
    """Return (step, value), lower is better: the losses, or the metrics turned round."""
    found = losses(checks)
    return found if found else [(step, -value) for step, value in metrics(checks)]


def is_moving(checks: Sequence[Validation]) -> bool:
    """Whether a loss surely falls or a metric surely moves, between the halves."""
    fell, moved = [v for _, v in losses(checks)], [v for _, v in metrics(checks)]
    if len(fell) >= 4 and progress(fell).is_surely_above(LEAST_MOVE, _STANDARD_ERRORS):
        return True
    if len(moved) < 4:
        return False
    metric = progress(moved)
    return abs(metric.fall) > LEAST_MOVE + _STANDARD_ERRORS * metric.error


def is_improving_since(checks: Sequence[Validation], step: int) -> bool:
    """Whether validations from `step` on are better than the best of the last three before."""
    known = series(checks)
    before = [value for at, value in known if at < step] or [value for _, value in known[:3]]
    after = [value for at, value in known if at >= step]
    if len(before) < 2 or not after:
        return False
    return median(after[-3:]) < min(before[-3:])
