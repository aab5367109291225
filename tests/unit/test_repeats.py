import math

import pytest

from watchdog.repeats import Repeats


def repeats(*values: float | None) -> Repeats:
    found = Repeats()
    for step, value in enumerate(values, start=1):
        found.add(step, value)
    return found


def test_row_of_equal_values_is_counted_from_where_it_began() -> None:
    found = repeats(3.0, 2.0, 2.0, None, 2.0)
    assert (found.count, found.first_step, found.value) == (3, 2, 2.0)


def test_value_that_is_not_finite_ends_the_row() -> None:
    assert repeats(2.0, 2.0, math.nan).count == 0


@pytest.mark.parametrize(
    ("values", "ratio"),
    [((0.7979,), 1e-4 / 0.7979), ((0.5001, 0.5), 2e-4), ((3.194e31,), 1 / 3194)],
)
def test_resolution_is_that_of_the_finest_value_told(
    values: tuple[float, ...], ratio: float
) -> None:
    assert repeats(*values).resolution_ratio() == pytest.approx(ratio)


def test_zero_has_no_resolution() -> None:
    assert repeats(0.0).resolution_ratio() == math.inf
    assert repeats().resolution_ratio() == math.inf
