"""Step times by rank, in bounded memory."""

from __future__ import annotations

import math

import pytest

from runner.rank_times import RankTimes, slowest_over_median
from watchdog.records import StepReport


def report(step: int, step_s: float | None, rank: int = 0) -> StepReport:
    return StepReport(t_s=0.0, attempt=0, generation=0, rank=rank, step=step, step_s=step_s)


def test_mean_is_over_all_steps_of_the_rank() -> None:
    times = RankTimes()
    for step, step_s in ((1, 1.0), (2, 3.0)):
        times.observe(report(step, step_s))
    assert times.by_rank()[0].mean_s == 2.0


def test_stretches_stay_bounded_and_keep_the_mean() -> None:
    times = RankTimes(max_stretches=16)
    for step in range(1, 1001):
        times.observe(report(step, float(step)))
    found = times.by_rank()[0]
    assert len(found.steps) <= 16
    assert found.mean_s == pytest.approx(500.5)
    assert list(found.means_s) == sorted(found.means_s)


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -1.0])
def test_an_unknown_or_impossible_time_is_left_out(bad: float | None) -> None:
    times = RankTimes()
    times.observe(report(1, bad))
    assert times.by_rank() == ()


def test_slowest_over_median_names_the_straggler() -> None:
    times = RankTimes()
    for rank, step_s in enumerate((1.0, 1.0, 4.0)):
        times.observe(report(1, step_s, rank))
    assert slowest_over_median(times.by_rank()) == 4.0


def test_without_times_the_balance_is_unknown() -> None:
    assert slowest_over_median(()) is None
