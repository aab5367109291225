"""Runs that are stuck, with several learning rates tried on them."""

import math
from dataclasses import dataclass
from typing import Any

import pytest

from tests.replay.learning_rig import LearningRig
from tests.replay.rig import only
from watchdog.config import WatchdogConfig
from watchdog.records import Action, Cause, Verdict

MULTIPLIERS = [0.25, 0.5, 1.0, 2.0, 4.0, 10.0]


def probing(**policy: Any) -> WatchdogConfig:
    return only("plateau", "nonfinite", "spike", policy={"lr": "probe", **policy})


def too_low(scale: float) -> float:
    """A run that only learns at ten times its rate, and breaks beyond that."""
    return 0.003 if 8 <= scale <= 12 else 0.0


def play(speed: Any = too_low, last_step: int = 2000, **policy: Any) -> LearningRig:
    run = LearningRig(
        lambda generation, step: math.nan, last_step, config=probing(**policy), speed=speed
    )
    run.play()
    return run


@pytest.fixture(scope="module")
def rescued() -> LearningRig:
    return play()


def test_every_rate_is_tried_in_turn_from_one_checkpoint(rescued: LearningRig) -> None:
    trials = rescued.verdicts[: len(MULTIPLIERS)]
    assert {v.action for v in trials} == {Action.ROLLBACK}
    assert [v.lr_scale for v in trials] == MULTIPLIERS
    done = rescued.lines("recovery_done")[: len(MULTIPLIERS) + 1]
    assert len({line["restored_step"] for line in done}) == 1
    assert [line["steps_lost"] for line in done[1:]] == [60] * len(MULTIPLIERS)
    assert all(v.skip_samples == () for v in trials)


def test_the_best_rate_is_taken_even_if_it_is_ten_times_higher(rescued: LearningRig) -> None:
    decision = rescued.verdicts[len(MULTIPLIERS)]
    assert decision.lr_scale == 10.0
    assert "learning rate x 10 is best" in decision.reason
    assert rescued.level < math.log(2.0) - 0.5


def test_the_comparison_is_in_the_proof_and_the_proof_says_that_it_helped(
    rescued: LearningRig,
) -> None:
    proof = rescued.lines("proof")[0]
    assert proof["helped"] is True
    assert [row["lr_scale"] for row in proof["trials"]] == MULTIPLIERS
    gains = {row["lr_scale"]: row["gain"] for row in proof["trials"]}
    assert gains[1.0] is None
    assert gains[10.0] > 0.05
    assert all(row["steps"] == 60 and row["failure"] is None for row in proof["trials"])


def test_a_probe_is_charged_once(rescued: LearningRig) -> None:
    assert len(rescued.lines("incident_opened")) == 1
    assert Action.HALT not in {v.action for v in rescued.verdicts}


def test_nothing_saved_during_a_trial_is_ever_trusted(rescued: LearningRig) -> None:
    verdicts = rescued.verdicts[: len(MULTIPLIERS) + 1]
    begun, decided = verdicts[1].t_s, verdicts[-1].t_s
    trusted = [
        line["step"]
        for line in rescued.lines("checkpoint_trusted")
        if begun <= line["t_s"] < decided
    ]
    assert trusted == []


def test_a_rate_that_breaks_the_run_loses_only_its_trial() -> None:
    def fragile(scale: float) -> float:
        return math.nan if scale > 3 else 0.002 if scale == 2 else 0.0

    run = play(fragile, last_step=1400)
    assert [v.lr_scale for v in run.verdicts[:7]] == [*MULTIPLIERS, 2.0]
    assert {v.cause for v in run.verdicts} == {Cause.PLATEAU}
    rows = run.lines("proof")[0]["trials"]
    assert [row["lr_scale"] for row in rows if row["failure"]] == [4.0, 10.0]


def test_where_no_rate_helps_the_present_one_is_kept_and_a_person_is_asked_in_the_end() -> None:
    run = play(lambda scale: 0.0, last_step=6000)
    decisions = run.verdicts[len(MULTIPLIERS) :: len(MULTIPLIERS) + 1]
    assert {v.lr_scale for v in decisions} == {1.0}
    assert len(run.lines("incident_opened")) == 4
    assert run.verdicts[-1].action is Action.HALT
    assert not any(proof["helped"] for proof in run.lines("proof"))


@dataclass
class DyingInTrial(LearningRig):
    """Its worker dies ten steps into the second trial."""

    def _train_one(self) -> Verdict | None:
        restored = self.lines("recovery_done")
        if len(restored) == 2 and self.step == restored[1]["restored_step"] + 10:
            assert self._die()
        return super()._train_one()


def test_a_worker_that_dies_during_a_trial_ends_the_probe_as_if_it_had_not_been() -> None:
    run = DyingInTrial(lambda generation, step: math.nan, 700, config=probing())
    run.play()
    first = run.lines("recovery_done")[0]["restored_step"]
    restart = next(v for v in run.verdicts if v.action is Action.RESTART)
    assert (restart.cause, restart.lr_scale) == (Cause.CRASH, 1.0)
    started = run.lines("attempt_started")[1]
    assert (started["step"], started["lr_scale"]) == (first, 1.0)


def test_a_run_that_learns_is_never_probed() -> None:
    run = play(lambda scale: 0.001, last_step=1500)
    assert run.verdicts == []


def test_an_observer_tries_nothing() -> None:
    config = only("plateau", mode="observe", policy={"lr": "probe"})
    run = LearningRig(lambda g, s: math.nan, 600, config=config).play()
    assert {v.action for v in run.verdicts} == {Action.CONTINUE}
    assert run.verdicts[0].advised is Action.ROLLBACK
    assert "to try learning rates x 0.25" in run.verdicts[0].reason
    assert run.lines("recovery_done") == []
    assert run.core.order is None
