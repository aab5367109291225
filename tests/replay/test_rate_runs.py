"""Runs whose learning rate was lowered: taken back where it did not help, lifted when asked."""

import math
from typing import Any

import pytest

from tests.replay.learning_rig import LearningRig
from tests.replay.rig import Rig, lines_of, noisy, observe_all, only, report, started, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.records import Action, AttemptEnded, Cause, LrChanged, Outcome, RunStarted

CALM = noisy(2.2, 0.01, seed=1, tail=0.02)


def burst_at_45(generation: int, step: int) -> float:
    is_bad = generation == 0 and step in (45, 46, 47)
    return math.nan if is_bad else CALM(generation, step)


def lifting(after_steps: int | None = 30) -> WatchdogConfig:
    return only("nonfinite", policy={"lift_after_steps": after_steps, "lift_after_ratio": 1.0})


def adjustments(run: Rig) -> list[tuple[int, float]]:
    return [(v.step, v.lr_scale) for v in run.verdicts if v.action is Action.CONTINUE]


def test_a_lowered_rate_is_lifted_after_enough_healthy_steps_without_losing_any() -> None:
    run = Rig(burst_at_45, 140, config=lifting()).play()
    assert adjustments(run) == [(62, 1.0)]  # 30 clean steps from the restored step 32
    assert run.core.history().lr_scale == 1.0
    assert run.core.snapshot().steps_lost == 15  # those of the rollback
    assert "policy.lift_after_steps=30" in run.verdicts[-1].reason


@pytest.mark.parametrize(
    ("max_steps", "ratio", "lifted_at"),
    [
        (140, 0.05, 55),  # not before the incident is closed
        (500, 0.05, 57),
        (500, 0.08, 62),  # no later than lift_after_steps
    ],
)
def test_in_a_short_run_a_rate_comes_back_after_a_share_of_its_steps(
    max_steps: int, ratio: float, lifted_at: int
) -> None:
    policy = {"lift_after_steps": 30, "lift_after_ratio": ratio}
    config = only("nonfinite", policy=policy)
    run = Rig(burst_at_45, max_steps, config=config, max_steps=max_steps).play()
    assert adjustments(run) == [(lifted_at, 1.0)]
    assert f"policy.lift_after_ratio={ratio}" in run.verdicts[-1].reason


def test_a_lift_goes_up_by_doubling() -> None:
    config = only("nonfinite", policy={"lift_after_steps": 30, "lr_factor": 0.25})
    run = Rig(burst_at_45, 140, config=config).play()
    assert [scale for _, scale in adjustments(run)] == [0.5, 1.0]


def test_nothing_is_lifted_unless_asked() -> None:
    run = Rig(burst_at_45, 400, config=lifting(None)).play()
    assert adjustments(run) == []
    assert run.core.history().lr_scale == 0.5


def test_an_incident_after_a_lift_lowers_the_rate_and_the_next_lift_takes_four_times_as_long() -> (
    None
):
    def twice(generation: int, step: int) -> float:
        is_bad = generation == 1 and step in (90, 91, 92)
        return math.nan if is_bad else burst_at_45(generation, step)

    run = Rig(twice, 240, config=lifting()).play()
    rollback, lift, again, late = run.verdicts
    assert (rollback.lr_scale, lift.lr_scale, again.lr_scale, late.lr_scale) == (0.5, 1.0, 0.5, 1.0)
    restored = run.lines("recovery_done")[1]["restored_step"]
    assert late.step - restored == 120


def test_the_judgement_goes_on_while_a_lift_is_under_way() -> None:
    class Deaf(Rig):
        def _set_scale(self) -> None:
            pass

    def late_burst(generation: int, step: int) -> float:
        is_bad = generation == 1 and step >= 90
        return math.nan if is_bad else burst_at_45(generation, step)

    run = Deaf(late_burst, 100, config=lifting()).play()
    assert [v.action for v in run.verdicts] == [Action.ROLLBACK, Action.CONTINUE, Action.ROLLBACK]
    assert run.core.history().lr_scale == 0.25


def lowered() -> Core:
    """Return a core whose run was rolled back once and is about to be lifted."""
    run = Rig(burst_at_45, 61, config=lifting())
    run.tell(RunStarted(t_s=0.0, run_id="run-1", job="toy", max_steps=200))
    run._start(0, None, 1.0)
    while run.step < 61:
        verdict = run._train_one()
        if verdict is not None:
            run._roll_back(verdict)
    both = [report(62, 2.2, rank=rank, generation=1, t_s=80.0, lr=5e-4) for rank in (0, 1)]
    (lift,) = verdicts_of(observe_all(run.core, both))
    assert run.core.order == lift
    return run.core


def test_the_next_attempt_starts_with_a_lift_that_its_attempt_did_not_live_to_see() -> None:
    core = lowered()
    died = AttemptEnded(t_s=81.0, attempt=0, outcome=Outcome.WORKER_DIED, step=62)
    assert verdicts_of(core.observe(died))[0].lr_scale == 1.0
    history = core.history()
    assert (history.lr_scale, history.lr_from_scale, history.lr_anchor_step) == (1.0, 0.5, 62)


def test_a_lift_is_over_when_the_ranks_say_so() -> None:
    core = lowered()
    order = core.order
    assert order is not None
    changed = LrChanged(
        t_s=81.0, attempt=0, generation=1, verdict_id=order.verdict_id, step=63, lr_scale=1.0
    )
    core.observe(changed)
    assert core.order is None
    assert core.snapshot().lr_scale == 1.0


def stuck(last_step: int, **settings: Any) -> LearningRig:
    config = only("plateau", **settings)
    return LearningRig(lambda g, s: math.nan, last_step, config=config)


def test_a_reduction_that_did_not_help_is_undone_and_the_next_goes_further() -> None:
    run = stuck(1500).play()
    rollback, undo, further = run.verdicts[:3]
    assert (rollback.action, rollback.lr_scale) == (Action.ROLLBACK, 0.5)
    assert (undo.action, undo.lr_scale) == (Action.CONTINUE, 1.0)
    assert "did not help against plateau; back to x 1" in undo.reason
    assert (further.action, further.lr_scale) == (Action.ROLLBACK, 0.25)
    assert run.lines("proof")[0]["helped"] is False


def test_a_reduction_that_helped_is_kept_and_costs_no_budget() -> None:
    def learns_slowly(scale: float) -> float:
        return 0.002 if scale < 1 else 0.0

    config = only("plateau", policy={"budgets": {"plateau": 1}})
    run = LearningRig(lambda g, s: math.nan, 1500, config=config, speed=learns_slowly).play()
    assert [v.action for v in run.verdicts] == [Action.ROLLBACK]
    assert run.lines("proof")[0]["helped"] is True
    assert run.core.history().lr_scale == 0.5


def test_a_plateau_taints_nothing_because_nothing_is_damaged() -> None:
    run = stuck(401).play()
    (verdict,) = run.verdicts
    assert verdict.cause is Cause.PLATEAU
    tainted = [line for line in run.lines("checkpoint_tainted") if line["t_s"] <= verdict.t_s]
    assert tainted == []


def test_a_run_that_nothing_helps_ends_with_advice() -> None:
    run = stuck(6000).play()
    assert run.verdicts[-1].action is Action.HALT
    assert "look at the model, the data, the loss" in run.verdicts[-1].reason
    assert not any(line["helped"] for line in run.lines("proof"))


@pytest.mark.parametrize("lr_at", [lambda step: 1e-8 * step, lambda step: 1e-6 * step])
def test_a_burst_while_the_rate_warms_up_is_not_taken_for_a_rate_at_its_floor(lr_at: Any) -> None:
    core = Core(WatchdogConfig())
    steps = [report(step, 2.0, lr=lr_at(step)) for step in range(1, 6)]
    burst = [report(step, math.nan, lr=lr_at(step)) for step in range(6, 9)]
    (verdict,) = verdicts_of(observe_all(core, [*started(), *steps, *burst]))
    assert verdict.action is Action.ROLLBACK


def test_a_burst_at_the_floor_halts_once_the_rate_has_stopped_rising() -> None:
    core = Core(WatchdogConfig())
    steps = [report(step, 2.0, lr=1e-8 * min(step, 4)) for step in range(1, 9)]
    burst = [report(step, math.nan, lr=4e-8) for step in range(9, 12)]
    (verdict,) = verdicts_of(observe_all(core, [*started(), *steps, *burst]))
    assert (verdict.action, verdict.cause) == (Action.HALT, Cause.NONFINITE)


def test_third_strike_without_progress_resets_the_momentum() -> None:
    run = Rig(lambda g, s: math.nan if s >= 60 else CALM(g, s), 100).play()
    assert [v.reset_momentum for v in run.verdicts] == [False, False, True, False]


def test_ledger_line_of_a_lift_is_a_verdict_that_lets_the_run_go_on() -> None:
    run = Rig(burst_at_45, 100, config=lifting()).play()
    (line,) = [v for v in lines_of(run.out, "verdict") if v["action"] == "continue"]
    assert (line["lr_scale"], line["advised"], line["cause"]) == (1.0, None, "nonfinite")
