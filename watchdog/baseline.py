"""A robust, detrended picture of a healthy loss, and how far another loss lies above it.

The logarithm is used where every loss is positive, because batch losses spread over decades there;
a loss that can be zero or negative is judged as it is. Medians throughout: single outliers of many
standard deviations are normal in healthy runs and must not move the picture.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Makes the median absolute deviation of a Gaussian its standard deviation.
_MAD_TO_SIGMA = 1.4826


def median(values: Sequence[float]) -> float:
    """Return the median; `values` must not be empty."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The loss expected from `anchor_step` on.

    `level`, `slope` (per step) and `noise` (one robust standard deviation) are in log loss if
    `is_log`, else in the unit of the loss. `steps` is how many losses it rests on, `span_steps`
    how far apart the first and last of them are: a trend is never extrapolated further than that.
    """

    anchor_step: int
    level: float
    slope: float
    noise: float
    steps: int
    span_steps: int
    is_log: bool

    def scaled(self, loss: float) -> float:
        """Return the loss on the baseline's own scale; minus infinity where it has no logarithm."""
        if not self.is_log:
            return loss
        return math.log(loss) if loss > 0 else -math.inf

    def excess(self, loss: float, step: int) -> float:
        """Return how far a loss lies above the forecast, in robust standard deviations.

        A falling trend is not extrapolated: losses flatten, and a band that keeps falling would
        make a late loss look like one that never came back.
        """
        return (self.scaled(loss) - self._expected(step, max(0.0, self.slope))) / self.noise

    def threshold(self, sigmas: float, step: int) -> float:
        """Return the loss that lies `sigmas` above the forecast."""
        return self._unscaled(self._expected(step, max(0.0, self.slope)) + sigmas * self.noise)

    def forecast(self, step: int) -> float:
        """Return the loss that the trend promises at `step`."""
        return self._unscaled(self._expected(step, self.slope))

    def _expected(self, step: int, slope: float) -> float:
        ahead_steps = min(max(0, step - self.anchor_step), self.span_steps)
        return self.level + slope * ahead_steps

    def _unscaled(self, value: float) -> float:
        if not self.is_log:
            return value
        return math.exp(value) if value < 700 else math.inf


def fit(points: Sequence[tuple[int, float]], min_noise_ratio: float) -> Baseline | None:
    """Return the baseline of (step, finite loss) points in step order; None for fewer than four.

    The slope joins the medians of the two halves. `min_noise_ratio` is the least noise assumed,
    as a share of the loss, so that a nearly constant loss does not make every ripple a spike.
    """
    if len(points) < 4:
        return None
    is_log = all(loss > 0 for _, loss in points)
    steps = [step for step, _ in points]
    values = [math.log(loss) for _, loss in points] if is_log else [loss for _, loss in points]
    half = len(points) // 2
    apart = (steps[half] + steps[-1]) / 2 - (steps[0] + steps[half - 1]) / 2
    slope = (median(values[half:]) - median(values[:half])) / apart if apart > 0 else 0.0
    anchor = steps[-1]
    flat = [value - slope * (step - anchor) for step, value in zip(steps, values, strict=True)]
    level = median(flat)
    noise = _MAD_TO_SIGMA * median([abs(value - level) for value in flat])
    least = min_noise_ratio if is_log else min_noise_ratio * abs(level) + 1e-12
    return Baseline(
        anchor_step=anchor,
        level=level,
        slope=slope,
        noise=max(noise, least) if math.isfinite(noise) else math.inf,
        steps=len(points),
        span_steps=max(0, anchor - steps[0]),
        is_log=is_log,
    )
