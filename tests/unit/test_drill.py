"""Drill strings and what the faults do."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from runner.drill import DrillError, DrillRunner, Fault, parse_drill
from watchdog.errors import SpecError


class Counts:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, key: str) -> int:
        self.counts[key] += 1
        return self.counts[key] - 1


def test_a_drill_is_a_list_of_faults() -> None:
    faults = parse_drill("nan@step=40,rank=1,count=5; kill@step=80,times=2")
    assert faults == (
        Fault("nan", step=40, rank=1, count=5),
        Fault("kill", step=80, times=2),
    )


@pytest.mark.parametrize("empty", [None, "", " ; "])
def test_no_text_is_no_fault(empty: str | None) -> None:
    assert parse_drill(empty) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nann@step=4", "did you mean 'nan'"),
        ("nan@stap=4", "did you mean 'step'"),
        ("nan@step=x", "whole number"),
        ("nan@step=0", "whole number from 1"),
        ("nan@count=3", "no step"),
        ("nan@step", "no value"),
        ("spike@step=3,factor=big", "not a number"),
        ("nan", "no step"),
    ],
)
def test_a_mistake_is_named(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_drill(text)


def gradient(drills: DrillRunner) -> float:
    weight = torch.ones(1, requires_grad=True)
    drills.distort_loss(weight.sum()).backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    return float(weight.grad)


def test_nan_poisons_the_gradient_for_count_steps_and_leaves_the_loss_alone() -> None:
    drills = DrillRunner(parse_drill("nan@step=3,count=2"), 0, Counts())
    bad = []
    for step in range(1, 7):
        drills.begin_step(step)
        bad.append(math.isnan(gradient(drills)))
        assert float(drills.distort_report(torch.tensor(2.0))) == 2.0
    assert bad == [False, False, True, True, False, False]


def test_a_recovery_ends_the_episode_and_it_does_not_come_back() -> None:
    drills = DrillRunner(parse_drill("nan@step=3,count=5"), 0, Counts())
    drills.begin_step(3)
    drills.reset()
    for step in range(1, 9):
        drills.begin_step(step)
        assert not math.isnan(gradient(drills))


def test_times_allows_as_many_episodes() -> None:
    drills = DrillRunner(parse_drill("nan@step=3,times=2"), 0, Counts())
    seen = 0
    for _ in range(4):
        drills.begin_step(3)
        seen += math.isnan(gradient(drills))
        drills.reset()
    assert seen == 2


def test_spike_multiplies_the_loss() -> None:
    drills = DrillRunner(parse_drill("spike@step=2,factor=4"), 0, Counts())
    drills.begin_step(2)
    assert gradient(drills) == 4.0
    assert float(drills.distort_report(torch.tensor(2.0))) == 8.0


def test_lr_lasts_until_a_recovery() -> None:
    drills = DrillRunner(parse_drill("lr@step=2,factor=0.1"), 0, Counts())
    drills.begin_step(1)
    assert drills.lr_factor() == 1.0
    drills.begin_step(2)
    drills.begin_step(5000)
    assert drills.lr_factor() == pytest.approx(0.1)
    drills.reset()
    assert drills.lr_factor() == 1.0


def test_a_fault_strikes_its_rank_alone() -> None:
    drills = DrillRunner(parse_drill("exception@step=2,rank=1"), 0, Counts())
    drills.begin_step(2)
    other = DrillRunner(parse_drill("exception@step=2,rank=1"), 1, Counts())
    with pytest.raises(DrillError, match="rank 1 at step 2"):
        other.begin_step(2)
