"""Whole runs in miniature, with the numbers of each recovery."""

import math

import pytest

from tests.replay.rig import Rig, checkpoint, noisy, observe_all, report, started
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.ledger_entries import LedgerEntry
from watchdog.records import (
    Action,
    AttemptEnded,
    AttemptStarted,
    Cause,
    Outcome,
    Record,
    RunEnded,
)

CALM = noisy(2.2, 0.01, seed=1, tail=0.02)


def nan_burst(generation: int, step: int) -> float:
    return math.nan if generation == 0 and step in (45, 46, 47, 48) else CALM(generation, step)


def stuck_high(generation: int, step: int) -> float:
    return 2 * CALM(generation, step) if generation == 0 and step >= 100 else CALM(generation, step)


def test_calm_run_has_no_verdict_and_every_durable_checkpoint_becomes_trusted() -> None:
    run = Rig(noisy(2.2, 0.01, seed=1), 100).play()
    assert run.verdicts == []
    assert [line["step"] for line in run.lines("checkpoint_trusted")] == [20, 40, 60, 80]


def test_nan_burst_goes_back_to_the_newest_trusted_checkpoint_in_place() -> None:
    run = Rig(nan_burst, 80).play()
    (verdict,) = run.verdicts
    assert (verdict.action, verdict.onset_step, verdict.step) == (Action.ROLLBACK, 45, 47)
    assert verdict.lr_scale == 0.5
    assert verdict.skip_samples == (450, 451, 460, 461, 470)  # rank 1's of step 47 is on its way
    (done,) = run.lines("recovery_done")
    assert (done["mechanism"], done["restored_step"], done["from"]) == ("in_place", 32, "memory")
    assert (done["steps_lost"], done["seconds"], done["skipped_samples"]) == (
        15,
        0.1,
        [450, 451, 460, 461, 470],
    )


def test_lines_of_a_recovery_come_in_order_and_end_in_a_proof() -> None:
    run = Rig(nan_burst, 80).play()
    kinds = [getattr(c, "kind", "verdict") for c in run.out]
    story = [kind for kind in kinds if not kind.startswith(("checkpoint", "suspect"))]
    assert story == [
        "run_started",
        "attempt_started",
        "incident_opened",
        "verdict",
        "recovery_started",
        "recovery_done",
        "incident_closed",
        "proof",
        "attempt_ended",
    ]
    (proof,) = run.lines("proof")
    assert proof["helped"] is True
    assert proof["forecast_loss"] == pytest.approx(2.2, rel=0.02)
    assert proof["actual_loss"] == pytest.approx(2.2, rel=0.02)
    assert (proof["steps_lost"], proof["incident"]) == (15, "run-1/nonfinite/45")
    assert proof["seconds_lost"] == pytest.approx(15.1)


def test_unrecovered_spike_taints_what_was_saved_since_its_onset() -> None:
    run = Rig(stuck_high, 180).play()
    (verdict,) = run.verdicts
    assert (verdict.cause, verdict.onset_step, verdict.step) == (Cause.SPIKE, 100, 129)
    assert verdict.skip_samples == tuple(s * 10 + r for s in range(100, 104) for r in (0, 1))
    tainted = {line["step"] for line in run.lines("checkpoint_tainted")}
    assert {100, 120} <= tainted
    (done,) = run.lines("recovery_done")
    assert (done["restored_step"], done["steps_lost"]) == (88, 41)
    trusted_again = [line["step"] for line in run.lines("checkpoint_trusted")]
    assert trusted_again[-4:] == [100, 120, 140, 160]


def test_killed_worker_is_replaced_and_the_restart_is_accounted_for() -> None:
    run = Rig(CALM, 75, dies_at=frozenset({(0, 50)})).play()
    (verdict,) = run.verdicts
    assert (verdict.action, verdict.cause) == (Action.RESTART, Cause.CRASH)
    assert verdict.lr_scale == 1.0
    (done,) = run.lines("recovery_done")
    assert (done["mechanism"], done["restored_step"], done["from"]) == ("restart", 40, "durable")
    assert (done["steps_lost"], done["seconds"]) == (9, 5.0)  # step 49 at 49 s, step 41 at 54 s
    assert run.lines("proof")[0]["helped"] is True
    snapshot = run.core.snapshot()
    assert (snapshot.steps_lost, dict(snapshot.restarts)) == (9, {"crash": 1})


def test_crash_loop_without_progress_halts() -> None:
    run = Rig(CALM, 80, dies_at=frozenset({(a, 50) for a in range(50)})).play()
    assert [v.action for v in run.verdicts] == [Action.RESTART] * 5 + [Action.HALT]
    assert "the best trusted checkpoint is that of step 40" in run.verdicts[-1].reason
    assert len(run.lines("incident_opened")) == 1


def test_crashes_with_enough_progress_between_them_never_halt() -> None:
    config = WatchdogConfig.model_validate(
        {"policy": {"budgets": {"period_steps": 20, "crash": 1}}}
    )
    dies = frozenset({(a, 30 * (a + 1)) for a in range(10)})
    run = Rig(CALM, 320, config=config, dies_at=dies).play()
    assert {v.action for v in run.verdicts} == {Action.RESTART}
    assert run.step == 320


def test_lost_nodes_are_free_as_long_as_there_is_progress() -> None:
    config = WatchdogConfig.model_validate({"policy": {"budgets": {"node_lost": 0}}})
    dies = frozenset({(a, 30 * (a + 1)) for a in range(10)})
    run = Rig(CALM, 320, config=config, dies_at=dies, is_node_lost=True).play()
    assert {v.cause for v in run.verdicts} == {Cause.NODE_LOST}
    assert run.step == 320


def test_lost_nodes_without_any_progress_halt() -> None:
    dies = frozenset({(0, 30), *((a, 21) for a in range(1, 50))})
    run = Rig(CALM, 80, dies_at=dies, is_node_lost=True).play()
    assert run.verdicts[-1].action is Action.HALT
    assert len(run.verdicts) == 12  # the first is free, then ten, then the halt


def test_nan_that_returns_goes_deeper_and_slower_and_then_halts() -> None:
    run = Rig(lambda g, s: math.nan if s >= 60 else CALM(g, s), 100).play()
    assert [v.action for v in run.verdicts] == [Action.ROLLBACK] * 3 + [Action.HALT]
    assert [v.lr_scale for v in run.verdicts[:3]] == [0.5, 0.25, 0.125]
    restored = [line["restored_step"] for line in run.lines("recovery_done")]
    assert restored == sorted(restored, reverse=True)
    assert len(set(restored)) == 3


def test_rate_at_its_floor_halts() -> None:
    config = WatchdogConfig.model_validate({"policy": {"min_lr": 1e-3}})
    run = Rig(nan_burst, 80, config=config).play()
    assert [v.action for v in run.verdicts] == [Action.HALT]
    assert "policy.min_lr=0.001" in run.verdicts[0].reason


def test_observer_says_what_it_would_do_and_does_nothing() -> None:
    config = WatchdogConfig(mode="observe")
    run = Rig(nan_burst, 80, config=config).play()
    (verdict,) = run.verdicts
    assert (verdict.action, verdict.advised) == (Action.CONTINUE, Action.ROLLBACK)
    assert verdict.reason.startswith("would rollback, but mode is observe")
    assert run.core.history().lr_scale == 1.0
    assert run.lines("recovery_started") == []
    assert len(run.lines("incident_closed")) == 1


def test_checkpoint_with_broken_weights_is_never_the_one_restored() -> None:
    run = Rig(CALM, 75, broken_weights_at=frozenset({(0, 48)})).play()
    (verdict,) = run.verdicts
    assert (verdict.cause, verdict.onset_step, verdict.step) == (Cause.NONFINITE, 48, 48)
    assert run.lines("recovery_done")[0]["restored_step"] == 40


def test_crash_with_a_rollback_pending_restarts_for_the_same_cause() -> None:
    class Dying(Rig):
        def _roll_back(self, verdict: object) -> None:
            assert self._die()

    run = Dying(nan_burst, 80).play()
    rollback, restart = run.verdicts
    assert (restart.action, restart.cause) == (Action.RESTART, Cause.NONFINITE)
    assert (restart.onset_step, restart.lr_scale) == (rollback.onset_step, 0.5)
    assert restart.skip_samples == (*rollback.skip_samples, 471)  # rank 1's has come meanwhile
    assert restart.is_numeric
    assert run.lines("attempt_started")[1]["lr_scale"] == 0.5
    assert len(run.lines("incident_opened")) == 1


@pytest.mark.parametrize("ending", ["finished", "halted"])
def test_run_that_ends_with_an_incident_open_writes_its_proof(ending: str) -> None:
    run = Rig(nan_burst, 50).play()
    assert run.lines("proof") == []
    concluded = run.core.observe(RunEnded(t_s=99.0, attempt=0, step=50, state=ending))
    kinds = [getattr(c, "kind", "verdict") for c in concluded]
    assert kinds == ["incident_closed", "proof", "run_ended"]


def test_run_that_was_stopped_may_still_prove_that_it_was_healed() -> None:
    run = Rig(nan_burst, 50).play()
    stopped = run.core.observe(RunEnded(t_s=99.0, attempt=0, step=50, state="stopped"))
    assert [getattr(c, "kind", "verdict") for c in stopped] == ["run_ended"]


def test_the_wait_until_a_fault_was_found_is_part_of_the_time_lost() -> None:
    core = Core(WatchdogConfig())
    records: list[Record] = [*started(), *(report(step) for step in range(1, 11)), checkpoint(10)]
    records += [
        AttemptEnded(t_s=80.0, attempt=0, outcome=Outcome.HUNG, step=10, rank=0),
        AttemptStarted(t_s=90.0, attempt=1, world_size=1, restored_step=10),
        *(report(step, t_s=80.0 + step, attempt=1, generation=1) for step in range(11, 40)),
    ]
    out = observe_all(core, records)
    [proof] = [c for c in out if isinstance(c, LedgerEntry) and c.kind == "proof"]
    # Heard of last at 10 s, past step 11 at 92 s; two steps in between take a second each.
    assert proof.data["seconds_lost"] == pytest.approx(80.0, abs=1.5)
