import math

import pytest

from watchdog.validations import Validation, is_improving_since, is_moving, series


def checks(losses: list[float | None], metrics: list[float] | None = None) -> list[Validation]:
    known: list[float | None] = [None] * len(losses) if metrics is None else [*metrics]
    return [
        Validation(10 * i, loss, metric)
        for i, (loss, metric) in enumerate(zip(losses, known, strict=True))
    ]


def test_series_is_the_loss_where_there_is_one_and_else_the_metric_turned_round() -> None:
    assert series(checks([2.0, math.inf, 1.0], [0.1, 0.2, 0.3])) == [(0, 2.0), (20, 1.0)]
    assert series(checks([None, None], [0.1, 0.2])) == [(0, -0.1), (10, -0.2)]


@pytest.mark.parametrize("direction", [1, -1])
def test_metric_that_moves_either_way_is_moving(direction: int) -> None:
    """Error rates are logged as metrics too."""
    metrics = [0.5 + direction * 0.01 * i for i in range(20)]
    assert is_moving(checks([None] * 20, metrics))


def test_loss_that_rises_or_stays_is_not_moving() -> None:
    assert not is_moving(checks([1.0 + 0.01 * i for i in range(20)]))
    assert not is_moving(checks([1.0] * 20))
    assert is_moving(checks([1.0 - 0.01 * i for i in range(20)]))


def test_improvement_is_against_the_best_of_the_last_three() -> None:
    assert is_improving_since(checks([3.0, 2.0, 2.5, 1.9]), 30)
    assert not is_improving_since(checks([3.0, 2.0, 2.5, 2.1]), 30)
    assert not is_improving_since(checks([3.0, 2.0, 2.5]), 30)
