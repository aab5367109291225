"""How far a series fell, and whether the data can tell: the arithmetic the detectors share.

Works on the logarithm where every value is positive, so that scale does not matter; else relative
to the mean magnitude, so that sign does not.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from watchdog.baseline import median
from watchdog.steps import mean


@dataclass(frozen=True, slots=True)
class Progress:
    """By how much a series fell between its halves, and the standard error of that.

    In log units where all values are positive, else relative to the mean magnitude.
    """

    fall: float
    error: float

    def is_surely_below(self, least: float, errors: float) -> bool:
        """Whether the fall is below `least` by more than `errors` standard errors."""
        return self.fall + errors * self.error < least

    def is_surely_above(self, least: float, errors: float) -> bool:
        """Whether the fall is above `least` by more than `errors` standard errors."""
        return self.fall - errors * self.error > least

    def is_surely_flat(self, least: float, errors: float) -> bool:
        """Whether a move of `least` either way is excluded; an equivalence test, not a lack of one.

        Source: Schuirmann 1987, two one-sided tests.
        """
        return abs(self.fall) + errors * self.error < least


def progress(values: Sequence[float]) -> Progress:
    """Return how far a series of at least four values fell; trends and outliers cancel out."""
    scaled = scale(values)
    half = len(scaled) // 2
    falls = (mean(scaled[:half]) or 0.0) - (mean(scaled[half:]) or 0.0)
    return Progress(falls, math.sqrt(2 / half) * noise(scaled))


def robust_progress(values: Sequence[float]) -> Progress:
    """Return the same from medians, for single records with heavy tails; at least four values.

    A median has 1.25 times the standard error of a mean (Gaussian, asymptotically).
    """
    scaled = scale(values)
    half = len(scaled) // 2
    falls = median(scaled[:half]) - median(scaled[half:])
    return Progress(falls, 1.25 * math.sqrt(2 / half) * robust_noise(scaled))


def scale(values: Sequence[float]) -> list[float]:
    """Return the logarithms, or the values as shares of their mean magnitude."""
    if min(values) > 0:
        return [math.log(value) for value in values]
    size = mean([abs(value) for value in values]) or 1.0
    return [value / size for value in values]


def noise(values: Sequence[float]) -> float:
    """Return the standard deviation about the trend.

    Source: von Neumann et al. 1941, the mean square successive difference.
    """
    squares = [(b - a) * (b - a) for a, b in itertools.pairwise(values)]
    return math.sqrt(max(0.0, (mean(squares) or 0.0) / 2))


def robust_noise(values: Sequence[float]) -> float:
    """Return the same from the median absolute successive difference, which outliers leave alone.

    The factor makes it the standard deviation of a Gaussian: 1.4826 / sqrt(2).
    """
    return 1.0484 * median([abs(b - a) for a, b in itertools.pairwise(values)] or [0.0])


def curvature_noise(values: Sequence[float]) -> float:
    """Return the standard deviation about a trend that may bend; outliers leave it alone.

    The median absolute second difference; the factor is that of a Gaussian, 1.4826 / sqrt(6).
    """
    bends = [abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
    return 0.6053 * median(bends or [0.0])


def kendall_z(values: Sequence[float]) -> float:
    """Return how surely a series rises (positive) or falls, in standard deviations.

    Outliers and the shape of the trend do not matter. Source: Mann 1945, Kendall 1975; ties count
    as neither.
    """
    count = len(values)
    score = sum((b > a) - (b < a) for a, b in itertools.combinations(values, 2))
    variance = count * (count - 1) * (2 * count + 5) / 18
    return score / math.sqrt(variance) if variance > 0 else 0.0
