"""Rollback-true curves: each step once, whatever was rolled back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.curves import Curves, Jump, Point, build_curves, thin
from tests.unit import sample_run
from watchdog.records import (
    AttemptStarted,
    EvalReport,
    Record,
    RollbackDone,
    StepReport,
    Storage,
)


def step(
    number: int,
    *,
    generation: int = 0,
    rank: int = 0,
    loss: float | None = 1.0,
    is_finite: bool = True,
) -> StepReport:
    return StepReport(
        t_s=0.0,
        attempt=0,
        generation=generation,
        rank=rank,
        step=number,
        loss=loss,
        is_finite=is_finite,
    )


def rollback(last_step: int, restored_step: int, generation: int) -> RollbackDone:
    return RollbackDone(
        t_s=0.0,
        attempt=0,
        generation=generation,
        verdict_id=generation,
        step=last_step,
        restored_step=restored_step,
        storage=Storage.MEMORY,
        seconds=0.0,
        steps_lost=last_step - restored_step,
    )


def evaluation(number: int, generation: int, val_loss: float) -> EvalReport:
    return EvalReport(t_s=0.0, attempt=0, generation=generation, step=number, val_loss=val_loss)


def places(points: Sequence[Point]) -> list[tuple[int, int]]:
    return [(p.step, p.generation) for p in points]


def test_no_records_no_curves() -> None:
    assert build_curves([]) == Curves()


def test_loss_of_a_step_is_the_mean_over_ranks() -> None:
    curves = build_curves([step(1, loss=1.0), step(1, rank=1, loss=3.0)])
    assert curves.clean[0].loss == 2.0


def test_one_rank_with_nan_makes_the_mean_nan() -> None:
    curves = build_curves([step(1), step(1, rank=1, loss=math.nan, is_finite=False)])
    loss = curves.clean[0].loss
    assert loss is not None
    assert math.isnan(loss)
    assert not curves.clean[0].is_finite


def test_an_unknown_loss_is_none_and_not_zero() -> None:
    assert build_curves([step(1, loss=None)]).clean[0].loss is None


def test_a_record_told_twice_counts_once() -> None:
    curves = build_curves([step(1, loss=1.0), step(1, loss=1.0), step(1, rank=1, loss=4.0)])
    assert [p.loss for p in curves.clean] == [2.5]


def test_a_rollback_supersedes_the_steps_beyond_the_restored_one() -> None:
    told: list[Record] = [step(n) for n in (1, 2, 3, 4)]
    told += [rollback(4, 2, 1), step(3, generation=1), step(4, generation=1)]
    curves = build_curves(told)
    assert places(curves.clean) == [(1, 0), (2, 0), (3, 1), (4, 1)]
    assert [places(branch) for branch in curves.branches] == [[(3, 0), (4, 0)]]
    assert curves.jumps == (Jump(generation=1, step=4, restored_step=2, is_in_place=True),)


def test_a_deeper_rollback_supersedes_several_generations() -> None:
    told: list[Record] = [step(n) for n in (1, 2, 3, 4)]
    told += [rollback(4, 3, 1), step(4, generation=1), step(5, generation=1)]
    told += [rollback(5, 1, 2), step(2, generation=2)]
    curves = build_curves(told)
    assert places(curves.clean) == [(1, 0), (2, 2)]
    branches = [places(branch) for branch in curves.branches]
    assert branches == [[(2, 0), (3, 0), (4, 0)], [(4, 1), (5, 1)]]


def test_a_rollback_with_no_step_after_it_supersedes_too() -> None:
    curves = build_curves([step(1), step(2), rollback(2, 1, 1)])
    assert places(curves.clean) == [(1, 0)]


def test_a_restart_from_a_checkpoint_is_a_jump() -> None:
    started = AttemptStarted(t_s=0.0, attempt=1, world_size=1, restored_step=2, generation=1)
    curves = build_curves([step(1), step(2), step(3), started, step(3, generation=1)])
    assert curves.jumps == (Jump(generation=1, step=3, restored_step=2, is_in_place=False),)
    assert places(curves.clean) == [(1, 0), (2, 0), (3, 1)]


def test_a_rollback_told_twice_is_one_jump() -> None:
    assert len(build_curves([step(1), step(2), rollback(2, 1, 1), rollback(2, 1, 1)]).jumps) == 1


def test_the_first_attempt_is_no_jump() -> None:
    assert build_curves([AttemptStarted(t_s=0.0, attempt=0, world_size=1)]).jumps == ()


def test_first_steps_that_come_before_their_attempt_are_no_jump() -> None:
    assert build_curves([step(1), AttemptStarted(t_s=0.0, attempt=0, world_size=1)]).jumps == ()
    started = AttemptStarted(t_s=0.0, attempt=1, world_size=1, restored_step=2, generation=1)
    told: list[Record] = [step(1), step(2), step(3), step(3, generation=1), step(4, generation=1)]
    jumps = build_curves([*told, started]).jumps
    assert jumps == (Jump(generation=1, step=3, restored_step=2, is_in_place=False),)


def test_a_generation_whose_start_was_lost_is_read_from_its_first_step() -> None:
    curves = build_curves([step(1), step(2), step(3), step(2, generation=1)])
    assert places(curves.clean) == [(1, 0), (2, 1)]


def test_evaluations_are_superseded_like_steps() -> None:
    told: list[Record] = [step(1), step(2), evaluation(2, 0, 9.0), rollback(2, 1, 1)]
    told += [step(2, generation=1), evaluation(2, 1, 5.0)]
    curves = build_curves(told)
    assert [(e.step, e.val_loss) for e in curves.evaluations] == [(2, 5.0)]
    assert [(e.step, e.val_loss) for e in curves.superseded_evaluations] == [(2, 9.0)]


def test_the_sample_run_has_neither_gap_nor_duplicate() -> None:
    curves = build_curves(sample_run.records())
    assert [p.step for p in curves.clean] == list(range(1, sample_run.LAST_STEP + 1))
    assert all(p.is_finite for p in curves.clean)
    assert [len(branch) for branch in curves.branches] == [10, 4]


def _run(plan: Sequence[tuple[int, int]]) -> list[Record]:
    """Return the trace of a run: of each (steps, back), so many steps, then so many back."""
    told: list[Record] = []
    now = 0
    for generation, (steps, back) in enumerate(plan):
        told += [step(now + n, generation=generation) for n in range(1, steps + 1)]
        now += steps
        restored_step = max(0, now - back)
        told.append(rollback(now, restored_step, generation + 1))
        now = restored_step
    return told


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), max_size=8))
def test_the_clean_curve_never_has_a_gap_or_a_duplicate(
    plan: list[tuple[int, int]],
) -> None:
    told = _run(plan)
    curves = build_curves(told)
    numbers = [p.step for p in curves.clean]
    assert numbers == list(range(1, len(numbers) + 1))
    made = sum(isinstance(record, StepReport) for record in told)
    assert made == len(numbers) + sum(len(branch) for branch in curves.branches)


def _points(count: int) -> list[Point]:
    return [Point(n, 0, loss=1.0, grad_norm=1.0) for n in range(1, count + 1)]


def test_few_points_are_not_thinned() -> None:
    assert thin(_points(10), 10) == tuple(_points(10))


def test_thinned_points_are_bounded_and_in_order() -> None:
    thinned = thin(_points(100_000), 1000)
    assert len(thinned) <= 1000 + 2
    steps = [p.step for p in thinned]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (1, 100_000)


def test_thinning_keeps_extremes_and_what_was_asked_for() -> None:
    points = _points(50_000)
    points[12_345] = Point(12_346, 0, loss=99.0, grad_norm=1.0)
    points[23_456] = Point(23_457, 0, loss=-99.0, grad_norm=1.0)
    points[34_567] = Point(34_568, 0, loss=1.0, grad_norm=777.0)
    points[45_678] = Point(45_679, 0, loss=math.nan, is_finite=False)
    steps = {p.step for p in thin(points, 500, keep_steps={40_001})}
    assert {12_346, 23_457, 34_568, 45_679, 40_001} <= steps
