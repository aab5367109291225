import math

import pytest

from watchdog.baseline import fit, median


def test_fewer_than_four_points_are_no_baseline() -> None:
    assert fit([(1, 1.0), (2, 1.0), (3, 1.0)], 0.005) is None


def test_median_of_even_and_odd_counts() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


def test_positive_losses_are_judged_by_their_logarithm() -> None:
    baseline = fit([(s, 2.0 * math.exp(-0.01 * s)) for s in range(20)], 0.005)
    assert baseline is not None
    assert baseline.is_log
    assert baseline.slope == pytest.approx(-0.01)
    assert baseline.forecast(24) == pytest.approx(2.0 * math.exp(-0.24))


def test_a_falling_trend_is_not_held_against_a_late_loss() -> None:
    baseline = fit([(s, 2.0 * math.exp(-0.01 * s)) for s in range(20)], 0.005)
    assert baseline is not None
    assert baseline.excess(2.0 * math.exp(-0.19), 500) <= 0
    assert baseline.excess(2.0 * math.exp(-0.15), 500) == pytest.approx(1.0)


def test_a_trend_is_never_extrapolated_further_than_it_was_seen() -> None:
    baseline = fit([(s, 1.0 + 0.1 * s) for s in range(-10, 10)], 0.005)
    assert baseline is not None
    assert not baseline.is_log
    assert baseline.forecast(10_000) == pytest.approx(baseline.forecast(9 + 19))


def test_single_outlier_moves_neither_level_nor_noise() -> None:
    points = [(s, 1.0 + 0.01 * (-1) ** s) for s in range(40)]
    clean, dirty = fit(points, 0.005), fit([*points[:20], (20, 1e6), *points[21:]], 0.005)
    assert clean is not None
    assert dirty is not None
    assert dirty.level == pytest.approx(clean.level, abs=0.02)
    assert dirty.noise == pytest.approx(clean.noise, rel=0.2)


def test_constant_loss_has_the_least_noise_that_is_assumed() -> None:
    baseline = fit([(s, 2.0) for s in range(10)], 0.005)
    assert baseline is not None
    assert baseline.noise == 0.005
    assert baseline.threshold(2.0, 10) == pytest.approx(2.0 * math.exp(0.01))


@pytest.mark.parametrize("loss", [0.0, -3.0])
def test_loss_without_a_logarithm_lies_below_every_band(loss: float) -> None:
    baseline = fit([(s, 2.0) for s in range(10)], 0.005)
    assert baseline is not None
    assert baseline.excess(loss, 10) == -math.inf


def test_huge_losses_overflow_to_infinity_and_do_not_raise() -> None:
    baseline = fit([(s, 1e308) for s in range(10)], 0.005)
    assert baseline is not None
    assert baseline.threshold(1e6, 10) == math.inf
