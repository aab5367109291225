import math

import pytest

from watchdog.trend import kendall_z, noise, progress, robust_noise, robust_progress, scale


def test_scale_of_positive_values_and_sign_of_others_do_not_matter() -> None:
    values = [3.0, 2.5, 2.0, 1.8]
    assert progress([1e6 * v for v in values]).fall == pytest.approx(progress(values).fall)
    assert scale([-2.0, 2.0]) == [-1.0, 1.0]


def test_robust_progress_ignores_an_outlier() -> None:
    flat = [1.0 + 0.01 * (-1) ** i for i in range(40)]
    spiked = [*flat[:30], 1e6, *flat[31:]]
    assert robust_progress(spiked).fall == pytest.approx(robust_progress(flat).fall, abs=0.03)
    assert robust_noise(scale(spiked)) < 1.1 * robust_noise(scale(flat))
    assert noise(scale(spiked)) > 10 * noise(scale(flat))


def test_flat_is_a_claim_that_noise_can_forbid() -> None:
    quiet = progress([1.0 + 1e-4 * (-1) ** i for i in range(16)])
    loud = progress([1.0 + 0.1 * (-1) ** i for i in range(16)])
    assert quiet.is_surely_flat(0.005, 3.0)
    assert not loud.is_surely_flat(0.005, 3.0)
    assert not progress([1.0] * 8 + [1.1] * 8).is_surely_flat(0.005, 3.0)


def test_trend_of_ranks_knows_rising_from_falling_and_from_none() -> None:
    assert kendall_z([float(i) for i in range(20)]) > 5
    assert kendall_z([-math.exp(i) for i in range(20)]) < -5
    assert abs(kendall_z([float(i % 2) for i in range(20)])) < 2
    assert kendall_z([1.0]) == 0.0
