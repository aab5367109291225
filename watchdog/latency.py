"""How long faults take to be found and to be healed, counted in buckets from milliseconds to hours.

Found: from the first bad step, or the last sign of progress where no step told of the fault, to the
verdict. Healed: from the verdict to the first healthy step after it was carried out. The first is
the time to detect, the second the time to recover; a page or a proof may come later.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from watchdog.causes import Cause

#: Upper bounds of the buckets, in seconds; what is longer goes into one more.
#: Chosen: a rollback in place takes tens of milliseconds, a restart seconds to minutes, and a
#: plateau is hours old when it is called one.
BOUNDS_S: tuple[float, ...] = (
    *(0.01, 0.05, 0.1, 0.5),
    *(1.0, 5.0, 15.0),
    *(60.0, 300.0, 900.0),
    *(3600.0, 14400.0),
)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Durations by bucket, and their sum in seconds; `counts` has one bucket beyond the bounds."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    def add(self, seconds: float) -> Histogram:
        """Return the histogram with one more duration."""
        bucket = bisect_left(BOUNDS_S, seconds)
        counts = tuple(count + (i == bucket) for i, count in enumerate(self.counts))
        return Histogram(counts, self.sum_s + seconds)

    def cumulative(self) -> tuple[int, ...]:
        """Return how many durations were at most each bound, and last how many there are."""
        total, out = 0, []
        for count in self.counts:
            total += count
            out.append(total)
        return tuple(out)


class Latencies:
    """Both histograms of one run, by cause; only causes that occurred are there."""

    def __init__(self) -> None:
        self._detection: dict[Cause, Histogram] = {}
        self._recovery: dict[Cause, Histogram] = {}

    def detected(self, cause: Cause, seconds: float) -> None:
        """Count a verdict that came `seconds` after its fault."""
        _count(self._detection, cause, seconds)

    def recovered(self, cause: Cause, seconds: float) -> None:
        """Count a run that trained again `seconds` after a verdict."""
        _count(self._recovery, cause, seconds)

    def detection(self) -> Mapping[Cause, Histogram]:
        """Return the times to detect, detached from what goes on counting."""
        return dict(self._detection)

    def recovery(self) -> Mapping[Cause, Histogram]:
        """Return the times to recover, detached from what goes on counting."""
        return dict(self._recovery)


def _count(histograms: dict[Cause, Histogram], cause: Cause, seconds: float) -> None:
    """Count a duration; clocks of two machines that disagree make none negative."""
    if math.isfinite(seconds):
        histograms[cause] = histograms.get(cause, Histogram()).add(max(0.0, seconds))
