"""The learning rate: the job's schedule times the watchdog's multiplier."""

from __future__ import annotations

import pytest

from runner.schedule import LrControl, scheduled_lr
from runner.spec import TrainConfig

TRAIN = TrainConfig(max_steps=110, batch_size=4, lr=1.0, min_lr=0.1, warmup_steps=10)


@pytest.mark.parametrize(
    ("step", "expected"), [(1, 0.1), (10, 1.0), (60, 0.55), (110, 0.1), (500, 0.1)]
)
def test_warm_up_then_cosine_down_to_the_minimum(step: int, expected: float) -> None:
    assert scheduled_lr(step, TRAIN) == pytest.approx(expected)


def test_a_constant_schedule_stays_at_its_peak() -> None:
    constant = TRAIN.model_copy(update={"schedule": "constant"})
    assert scheduled_lr(109, constant) == 1.0


def test_without_intervention_the_schedule_is_untouched() -> None:
    assert LrControl().lr(7, 0.3) == 0.3


def test_the_scale_is_reached_over_the_rewarmup() -> None:
    control = LrControl(scale=0.5, anchor_step=100, rewarmup_steps=3)
    rates = [control.lr(step, 1.0) for step in (101, 102, 103, 104, 105)]
    assert rates == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5])


def test_the_floor_holds_the_scaled_rate_but_never_raises_the_schedule() -> None:
    control = LrControl(scale=0.01, floor=0.1)
    assert control.lr(5, 1.0) == pytest.approx(0.1)
    assert control.lr(5, 0.05) == pytest.approx(0.05)


def test_a_change_without_going_back_is_reached_from_the_scale_before_it() -> None:
    control = LrControl(scale=1.0, anchor_step=100, rewarmup_steps=3, from_scale=0.5)
    rates = [control.lr(step, 1.0) for step in (99, 100, 101, 102, 103, 104)]
    assert rates == pytest.approx([0.5, 0.5, 0.625, 0.75, 0.875, 1.0])


def test_a_change_down_without_a_ramp_holds_from_the_next_step_on() -> None:
    control = LrControl(scale=1.0, anchor_step=100, from_scale=4.0)
    assert [control.lr(step, 1.0) for step in (100, 101)] == [4.0, 1.0]


def test_a_halving_schedule_halves_over_each_half_life_and_stops_at_its_floor() -> None:
    halving = TRAIN.model_copy(update={"schedule": "halving", "half_life_steps": 20})
    rates = [scheduled_lr(step, halving) for step in (5, 10, 30, 50, 90)]
    assert rates == pytest.approx([0.5, 1.0, 0.5, 0.25, 0.1])


def test_a_halving_schedule_without_a_floor_ends_at_nothing() -> None:
    bare = TRAIN.model_copy(
        update={"schedule": "halving", "half_life_steps": 2, "min_lr": 0.0, "lr": 1e-5}
    )
    assert scheduled_lr(110, bare) == pytest.approx(8.88e-21, rel=1e-3)
