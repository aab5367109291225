import math

import pytest

from tests.replay.rig import report
from watchdog.steps import JudgedStep, StepAssembler, mean


def assembler(world_size: int, lag_steps: int = 4) -> StepAssembler:
    made = StepAssembler(lag_steps)
    made.restart(0, world_size)
    return made


def feed(made: StepAssembler, *points: tuple[int, int, float]) -> list[JudgedStep]:
    """Feed (step, rank, loss)."""
    return [j for step, rank, loss in points for j in made.add(report(step, loss, rank=rank))]


def test_step_is_judged_when_every_rank_reported_it() -> None:
    made = assembler(world_size=2)
    assert feed(made, (1, 0, 1.0)) == []
    (judged,) = feed(made, (1, 1, 3.0))
    assert (judged.step, judged.loss, judged.is_finite) == (1, 2.0, True)


def test_silent_rank_is_waited_for_only_so_long_and_then_not_any_more() -> None:
    made = assembler(world_size=2, lag_steps=4)
    assert feed(made, *((s, 0, 1.0) for s in range(1, 5))) == []
    assert [j.step for j in feed(made, (5, 0, 1.0))] == [1]
    assert [j.step for j in feed(made, (6, 0, 1.0))] == [2, 3, 4, 5, 6][:5]
    assert [j.step for j in feed(made, (7, 0, 1.0))] == [7]


def test_rank_that_is_back_is_waited_for_again() -> None:
    made = assembler(world_size=2, lag_steps=4)
    feed(made, *((s, 0, 1.0) for s in range(1, 8)))
    assert feed(made, (8, 1, 3.0)) == []
    assert [j.loss for j in feed(made, (8, 0, 1.0))] == [2.0]


def test_report_of_a_judged_step_changes_nothing() -> None:
    made = assembler(world_size=1)
    feed(made, (1, 0, 1.0))
    assert feed(made, (1, 0, 9.0), (1, 1, 9.0)) == []


def test_duplicate_counts_once() -> None:
    made = assembler(world_size=2)
    feed(made, (1, 0, 1.0), (1, 0, 5.0))
    assert [j.loss for j in feed(made, (1, 1, 3.0))] == [2.0]


def test_step_whose_report_was_dropped_leaves_with_the_next_complete_one() -> None:
    made = assembler(world_size=2)
    feed(made, (1, 0, 1.0), (2, 0, 1.0))
    assert [j.step for j in feed(made, (2, 1, 1.0))] == [1, 2]


def test_one_rank_with_nan_makes_the_step_nan() -> None:
    made = assembler(world_size=2)
    (judged,) = feed(made, (1, 0, 1.0), (1, 1, math.nan))
    assert judged.loss is not None
    assert math.isnan(judged.loss)
    assert not judged.is_finite


def test_mean_does_not_depend_on_the_order_of_the_ranks() -> None:
    values = [0.1, 1e16, -1e16, 0.3, 2.7]
    assert mean(values) == mean(values[::-1])
    assert mean([]) is None
    assert mean([1e308, 1e308]) == pytest.approx(1e308)
