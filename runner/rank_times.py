"""How long the steps of each rank took, in bounded memory whatever the length of the run.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median

from watchdog.records import StepReport


@dataclass(frozen=True, slots=True)
class RankTime:
    """Step times of one rank: `mean_s` over the run, `steps` and `means_s` along it."""

    rank: int
    mean_s: float
    steps: tuple[int, ...]
    means_s: tuple[float, ...]


class RankTimes:
    """Means of the step time by rank over equal stretches of steps.

    The stretches double whenever there would be more than `max_stretches` of them.
    """

    def __init__(self, max_stretches: int = 200) -> None:
        self._max_stretches = max_stretches
        self._width_steps = 1
        self._sums: dict[int, dict[int, tuple[float, int]]] = {}

    def observe(self, report: StepReport) -> None:
        """Take the step time of one rank in; an unknown or impossible one is left out."""
        seconds = report.step_s
        if seconds is None or not math.isfinite(seconds) or seconds < 0 or report.step < 0:
            return
        while report.step // self._width_steps >= self._max_stretches:
            self._double()
        stretch = report.step // self._width_steps
        sums = self._sums.setdefault(report.rank, {})
        total_s, count = sums.get(stretch, (0.0, 0))
        sums[stretch] = (total_s + seconds, count + 1)

    def by_rank(self) -> tuple[RankTime, ...]:
        """Return the times of all ranks, by rank."""
        return tuple(self._rank(rank) for rank in sorted(self._sums))

    def _rank(self, rank: int) -> RankTime:
        sums = self._sums[rank]
        stretches = sorted(sums)
        total_s = math.fsum(total for total, _ in sums.values())
        return RankTime(
            rank=rank,
            mean_s=total_s / sum(count for _, count in sums.values()),
            steps=tuple(s * self._width_steps + self._width_steps // 2 for s in stretches),
            means_s=tuple(sums[s][0] / sums[s][1] for s in stretches),
        )

    def _double(self) -> None:
        self._width_steps *= 2
        for rank, sums in self._sums.items():
            merged: dict[int, tuple[float, int]] = {}
            for stretch, (total_s, count) in sums.items():
                old_s, old_count = merged.get(stretch // 2, (0.0, 0))
                merged[stretch // 2] = (old_s + total_s, old_count + count)
            self._sums[rank] = merged


def slowest_over_median(times: tuple[RankTime, ...]) -> float | None:
    """Return how much slower the slowest rank is than the middle one; 1 is perfect balance."""
    means_s = [time.mean_s for time in times if time.mean_s > 0]
    return max(means_s) / median(means_s) if means_s else None
