"""The schedule and early stopping that follow the validations: functions of their list alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from runner.checkpoints import CheckpointStore
from runner.recovery import AttemptPlan, RestorePoint
from runner.schedule import scheduled_lr
from runner.spec import ReduceOnPlateauConfig, RunSpec, TrainConfig
from runner.validation_history import ValidationHistory, measured, reductions, stale
from tests.e2e.gloo_pair import VERDICT, ScriptedChannel, digest, spec
from tests.unit.test_session import run, steps
from watchdog.records import EvalReport, Order, OrderKind, Storage

TRAIN = TrainConfig(
    max_steps=100,
    batch_size=4,
    lr=1.0,
    min_lr=0.2,
    schedule="reduce_on_plateau",
    reduce_on_plateau=ReduceOnPlateauConfig(factor=0.5, patience=2),
    early_stopping=4,
)
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "patience", "expected"),
    [
        ([], 0, 0),
        ([1.0], 0, 0),
        ([1.0, 0.9, 0.8], 0, 0),
        ([1.0, 1.0], 0, 1),
        ([1.0, 1.0, 1.0], 1, 1),
        ([1.0, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1], 2, 2),
        ([1.0, 1.1, 1.1, 0.5, 1.1, 1.1, 1.1], 2, 1),
        ([1.0, 0.99995], 0, 1),
        ([1.0, NAN, NAN], 1, 1),
        ([NAN, NAN], 1, 1),
        ([INF, 1.0, 0.9], 0, 1),
        ([-1.0, -1.1, -1.2], 0, 0),
    ],
)
def test_each_wait_beyond_the_patience_is_a_reduction(
    values: list[float], patience: int, expected: int
) -> None:
    assert reductions(values, patience=patience, min_improvement_ratio=1e-4) == expected


@pytest.mark.parametrize("seed", range(6))
def test_the_reductions_are_those_of_pytorch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.maximum.accumulate(rng.random(60))[::-1] + 0.3 * rng.random(60)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    for count in range(1, 61):
        theirs.step(values[count - 1])
        ours = reductions(values[:count].tolist(), patience=3, min_improvement_ratio=1e-4)
        assert optimizer.param_groups[0]["lr"] == 0.5**ours


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], (0, None)),
        ([(10, 1.0), (20, 0.5)], (0, (20, 0.5))),
        ([(10, 0.5), (20, 0.6), (30, 0.5)], (2, (10, 0.5))),
        ([(10, NAN), (20, NAN)], (2, None)),
    ],
)
def test_what_is_stale_is_counted_from_the_best(
    entries: list[tuple[int, float]], expected: tuple[int, object]
) -> None:
    assert stale(entries, 1e-4) == expected


def test_the_rate_follows_the_validations_down_to_its_floor() -> None:
    history, rates = ValidationHistory(TRAIN), []
    for number in range(1, 12):
        history.add(10 * number, 1.0)
        rates.append(scheduled_lr(10 * number, TRAIN, history.rate_scale))
    assert rates == pytest.approx([1.0] * 3 + [0.5] * 3 + [0.25] * 3 + [0.2] * 2)


def test_other_schedules_do_not_listen_to_validations() -> None:
    constant = TRAIN.model_copy(update={"schedule": "constant"})
    assert scheduled_lr(50, constant, 0.125) == 1.0


def test_early_stopping_says_how_long_it_waited_and_what_the_best_was() -> None:
    history = ValidationHistory(TRAIN)
    for step, value in [(10, 0.9), (20, 0.5), (30, 0.6), (40, 0.6), (50, 0.6)]:
        history.add(step, value)
        assert history.stop_reason is None
    history.add(60, 0.7)
    assert history.stop_reason == (
        "stopped early at step 60: none of the last 4 validations was better than the best before "
        "(0.5 at step 20); limit is train.early_stopping=4"
    )
    history.load(history.state()[:3])
    assert history.stop_reason is None
    assert history.last_step == 30


def test_a_validation_that_is_done_again_supersedes_the_later_ones() -> None:
    history = ValidationHistory(TRAIN)
    for step, value in [(10, 1.0), (20, 2.0), (30, 3.0), (20, 0.5)]:
        history.add(step, value)
    assert history.state() == [[10, 1.0], [20, 0.5]]


def test_a_metric_stands_in_for_a_validation_loss() -> None:
    assert measured({"val_loss": 0.5, "dice": 0.9}, "dice") == 0.5
    assert measured({"dice": 0.9}, "dice") == -0.9
    assert math.isnan(measured({}, "dice"))


# -- in a session ------------------------------------------------------------------------------


def waiting(max_steps: int = 60, early_stopping: int | None = None) -> RunSpec:
    """Halve the rate at every validation that is not better by half, which few are."""
    whole = spec(max_steps)
    plateau = ReduceOnPlateauConfig(factor=0.5, patience=0, min_improvement_ratio=0.9)
    train = whole.train.model_copy(
        update={
            "schedule": "reduce_on_plateau",
            "reduce_on_plateau": plateau,
            "eval_every_steps": 5,
            "early_stopping": early_stopping,
        }
    )
    return whole.model_copy(update={"train": train})


@pytest.fixture(autouse=True)
def _prompt_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.telemetry._SEND_S", 0.0)
    monkeypatch.setattr("runner.telemetry._LOOK_S", 0.0005)


def test_the_session_reduces_the_rate_after_a_stale_validation(tmp_path: Path) -> None:
    channel = ScriptedChannel(None)
    run(tmp_path, channel, run_spec=waiting(16))
    rates = {r.step: r.lr for r in steps(channel)}
    assert [rates[s] for s in (5, 6, 10, 11, 16)] == [0.01, 0.01, 0.01, 0.005, 0.0025]
    assert [r.scheduled_lr for r in steps(channel)] == list(rates.values())


def test_a_rollback_takes_the_schedule_back_and_keeps_the_watchdogs_multiplier(
    tmp_path: Path,
) -> None:
    verdict = replace(VERDICT, rewarmup_steps=0)
    order = Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=verdict)
    channel = ScriptedChannel(order)
    run(tmp_path, channel, run_spec=waiting(40))
    before = {r.step: r.lr or 0 for r in steps(channel) if r.generation == 0}
    after = {r.step: r.lr or 0 for r in steps(channel) if r.generation == 1}
    assert after[17] == pytest.approx(before[17] / 2)
    assert after[20] == pytest.approx(before[20] / 2)


@pytest.mark.parametrize("stop_step", [25, 40])
def test_a_resumed_run_has_the_same_schedule_to_the_last_bit(
    tmp_path: Path, stop_step: int
) -> None:
    whole = waiting(55)
    untouched = run(tmp_path / "untouched", ScriptedChannel(None), run_spec=whole)
    half = waiting(stop_step).model_copy(update={"checkpoints": whole.checkpoints})
    stopped = run(tmp_path / "halves", ScriptedChannel(None), run_spec=half)
    assert stopped._course.validations.rate_scale < 1
    plan = AttemptPlan(attempt=1, generation=1, restore=(RestorePoint(stop_step, Storage.DURABLE),))
    resumed = run(tmp_path / "halves", ScriptedChannel(None), run_spec=whole, plan=plan)
    assert resumed._course.validations.state() == untouched._course.validations.state()
    assert digest(resumed.bare_model) == digest(untouched.bare_model)


def test_early_stopping_ends_the_run_after_the_validation_that_was_one_too_many(
    tmp_path: Path,
) -> None:
    channel = ScriptedChannel(None)
    session = run(tmp_path, channel, run_spec=waiting(60, early_stopping=2))
    assert session.step == 15
    assert session.stopped_by is None
    assert "stopped early at step 15" in (session.early_stop_reason or "")
    assert [r.step for r in channel.records if isinstance(r, EvalReport)] == [5, 10, 15]
    assert CheckpointStore(str(tmp_path / "checkpoints")).steps() == (15,)
