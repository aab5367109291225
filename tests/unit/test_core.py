import math
from dataclasses import replace

import pytest

from tests.replay.rig import (
    checkpoint,
    evaluation,
    lines_of,
    noisy,
    observe_all,
    report,
    started,
    verdicts_of,
)
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.records import (
    Action,
    AttemptEnded,
    AttemptStarted,
    CheckpointFailed,
    Outcome,
    Record,
    RollbackDone,
    RunEnded,
    RunStarted,
    StepReport,
    Storage,
    Tick,
)

CALM = noisy(2.2, 0.01, seed=1)


def rolled_back(**fields: object) -> RollbackDone:
    done = RollbackDone(
        t_s=50.0,
        attempt=0,
        generation=1,
        verdict_id=1,
        step=47,
        restored_step=32,
        storage=Storage.MEMORY,
        seconds=0.1,
        steps_lost=15,
    )
    return replace(done, **fields)  # type: ignore[arg-type]


def burst(core: Core) -> None:
    """Bring a run to a rollback verdict at step 47."""
    calm = [report(step, CALM(0, step)) for step in range(1, 45)]
    bad = [report(step, math.nan) for step in (45, 46, 47)]
    verdicts = verdicts_of(observe_all(core, [*started(), *calm, *bad]))
    assert [v.action for v in verdicts] == [Action.ROLLBACK]


def test_nothing_is_decided_between_a_rollback_verdict_and_its_end() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    late = [report(step, math.nan) for step in range(48, 80)]
    assert observe_all(core, [*late, checkpoint(80, is_finite=False, storage=Storage.MEMORY)]) == []
    assert core.order is not None


def test_reports_of_an_older_generation_are_counted_and_ignored() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    observe_all(core, [rolled_back()])
    assert observe_all(core, [report(step, math.nan) for step in range(48, 60)]) == []
    snapshot = core.snapshot()
    assert (snapshot.records_dropped, snapshot.step, snapshot.generation) == (12, 32, 1)


def test_report_that_overtakes_its_rollback_is_held_back_and_counts() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    observe_all(core, [report(33, 2.0, generation=1, t_s=51.0)])
    assert core.snapshot().step == 47
    observe_all(core, [rolled_back()])
    assert core.snapshot().step == 33


def after(restored_step: int, count: int, rank: int = 0) -> list[StepReport]:
    """Return a rank's reports of the generation that a rollback has started."""
    steps = range(restored_step + 1, restored_step + 1 + count)
    return [report(s, 2.2, generation=1, rank=rank, t_s=51.0 + s - restored_step) for s in steps]


@pytest.mark.parametrize(("reports", "is_over"), [(7, False), (8, True)])
def test_a_rollback_whose_report_was_lost_is_believed_when_rank_0_trains_on(
    reports: int, is_over: bool
) -> None:
    core = Core(WatchdogConfig())
    burst(core)
    out = observe_all(core, after(32, reports))
    assert (core.history().pending_verdict is None) is is_over
    if is_over:
        (done,) = lines_of(out, "recovery_done")
        assert (done["restored_step"], done["steps_lost"], done["seconds"]) == (32, 15, 5.0)
        assert (core.snapshot().step, core.snapshot().generation) == (40, 1)
        assert core.history().lr_scale == 0.5


def test_other_ranks_may_overtake_a_rollback_by_as_much_as_they_like() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    assert observe_all(core, after(32, 200, rank=1)) == []
    assert core.history().pending_verdict is not None


def test_a_lost_rollback_starts_where_the_first_rank_to_tell_did() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    out = observe_all(core, [*after(24, 3, rank=1), *after(26, 8)])
    assert lines_of(out, "recovery_done")[0]["restored_step"] == 24


def test_a_rollback_that_arrives_after_it_was_believed_lost_changes_nothing() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    observe_all(core, after(32, 8))
    assert observe_all(core, [rolled_back()]) == []
    assert core.snapshot().rollbacks == 1


def test_second_report_of_the_same_rollback_changes_nothing() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    observe_all(core, [rolled_back()])
    before = core.snapshot()
    assert observe_all(core, [rolled_back()]) == []
    assert core.snapshot().rollbacks == before.rollbacks == 1


def test_second_report_of_the_same_end_is_not_charged() -> None:
    core = Core(WatchdogConfig())
    ended = AttemptEnded(t_s=5.0, attempt=0, outcome=Outcome.EXCEPTION, step=4)
    (verdict,) = verdicts_of(observe_all(core, [*started(), ended]))
    assert observe_all(core, [ended]) == []
    assert core.end_verdict == verdict


def test_rate_of_a_pending_verdict_is_in_the_plan() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    history = core.history()
    assert history.pending_verdict is not None
    assert history.lr_scale == 0.5
    assert history.rewarmup_steps == 10


def test_attempt_that_never_came_up_counts_as_an_attempt() -> None:
    core = Core(WatchdogConfig())
    crash = AttemptEnded(t_s=5.0, attempt=0, outcome=Outcome.WORKER_DIED, step=0)
    observe_all(core, [RunStarted(t_s=0.0, run_id="r", job="j", max_steps=9), crash])
    assert core.history().next_attempt == 1
    observe_all(core, [replace(crash, attempt=1)])
    assert core.history().next_attempt == 2


def test_driver_that_died_leaves_no_order_behind_but_a_pending_verdict() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    observe_all(core, [RunStarted(t_s=99.0, run_id="r", job="j", max_steps=9, is_resumed=True)])
    assert core.order is None
    pending = core.history().pending_verdict
    assert pending is not None
    assert pending.onset_step == 45


def test_resumed_run_carries_the_pending_verdict_out_by_its_next_attempt() -> None:
    core = Core(WatchdogConfig())
    burst(core)
    resumed = AttemptStarted(
        t_s=100.0,
        attempt=1,
        world_size=1,
        restored_step=20,
        storage=Storage.DURABLE,
        generation=1,
        lr_scale=0.5,
    )
    observe_all(
        core, [RunStarted(t_s=99.0, run_id="r", job="j", max_steps=9, is_resumed=True), resumed]
    )
    first = report(21, 2.0, attempt=1, generation=1, t_s=101.0)
    (done,) = lines_of(observe_all(core, [first]), "recovery_done")
    assert (done["mechanism"], done["restored_step"], done["steps_lost"]) == ("restart", 20, 27)
    assert core.history().pending_verdict is None


def test_person_who_resumes_a_halted_run_gives_it_fresh_budgets() -> None:
    config = WatchdogConfig.model_validate({"policy": {"budgets": {"crash": 0}}})
    core = Core(config)
    crash = AttemptEnded(t_s=5.0, attempt=0, outcome=Outcome.EXCEPTION, step=4)
    (verdict,) = verdicts_of(observe_all(core, [*started(), crash]))
    assert verdict.action is Action.HALT
    observe_all(core, [RunStarted(t_s=9.0, run_id="r", job="j", max_steps=9, is_resumed=True)])
    assert core.history().pending_verdict is None
    assert core.order is None


@pytest.mark.parametrize(
    ("operation", "kinds"), [("save", ["suspect"]), ("restore", ["checkpoint_quarantined"])]
)
def test_failed_restore_quarantines_and_a_failed_save_does_not(
    operation: str, kinds: list[str]
) -> None:
    core = Core(WatchdogConfig())
    failed = CheckpointFailed(
        t_s=9.0, attempt=0, step=8, storage=Storage.DURABLE, operation=operation, error="checksum"
    )
    observe_all(core, [*started(), checkpoint(8)])
    assert [line.kind for line in core.observe(failed)] == kinds  # type: ignore[union-attr]
    assert core.snapshot().checkpoint_failures == 1
    assert ("quarantined" in core.trust().values()) is (operation == "restore")


def test_memory_checkpoints_are_tracked_without_ledger_lines() -> None:
    core = Core(WatchdogConfig())
    saved = checkpoint(8, storage=Storage.MEMORY)
    steps = [report(step, CALM(0, step)) for step in range(9, 15)]
    assert observe_all(core, [*started(), saved, *steps])[2:] == []
    assert core.snapshot().trusted_step == 8


def test_snapshot_holds_last_values_and_counts() -> None:
    core = Core(WatchdogConfig())
    observe_all(core, started(world_size=2))
    for rank in (0, 1):
        observe_all(core, [report(1, 2.0 + rank, rank=rank, lr=1e-3, grad_norm=0.5, step_s=0.2)])
    observe_all(core, [evaluation(1, val_metric=0.7), Tick(t_s=9.0)])
    snapshot = core.snapshot()
    assert (snapshot.state, snapshot.step, snapshot.loss) == ("running", 1, 2.5)
    assert (snapshot.lr, snapshot.grad_norm, snapshot.best_val_metric) == (1e-3, 0.5, 0.7)
    assert (snapshot.samples_total, snapshot.steps_total) == (2, 1)
    assert (snapshot.last_tick_t_s, snapshot.last_step_t_s) == (9.0, 1.0)
    assert snapshot.ranks[1].step_s == 0.2


def test_nan_never_becomes_a_last_value() -> None:
    core = Core(WatchdogConfig())
    observe_all(core, [*started(), report(1, 2.0, grad_norm=1.0), report(2, math.nan)])
    snapshot = core.snapshot()
    assert (snapshot.loss, snapshot.loss_is_finite, snapshot.steps_skipped) == (2.0, False, 1)


def test_best_metric_of_superseded_steps_is_forgotten() -> None:
    core = Core(WatchdogConfig())
    observe_all(core, [*started(), evaluation(20, val_metric=0.5), evaluation(40, val_metric=0.9)])
    observe_all(core, [rolled_back()])
    assert core.snapshot().best_val_metric == 0.5


@pytest.mark.parametrize(
    ("ending", "state"), [("finished", "finished"), ("halted", "halted"), ("odd", "failed")]
)
def test_run_ends_in_the_state_it_is_told(ending: str, state: str) -> None:
    core = Core(WatchdogConfig())
    observe_all(core, [*started(), RunEnded(t_s=9.0, attempt=0, step=4, state=ending)])
    assert core.snapshot().state == state


def test_state_follows_the_recovery() -> None:
    core = Core(WatchdogConfig())
    assert core.snapshot().state == "pending"
    observe_all(core, started())
    assert core.snapshot().state == "starting"
    burst(core)
    assert core.snapshot().state == "recovering"
    observe_all(core, [rolled_back(), report(33, 2.0, generation=1)])
    assert core.snapshot().state == "running"
    observe_all(core, [AttemptEnded(t_s=9.0, attempt=0, outcome=Outcome.WORKER_DIED, step=33)])
    assert core.snapshot().state == "restarting"


def test_a_report_that_overtakes_the_first_start_is_no_lost_step() -> None:
    core = Core(WatchdogConfig())
    run, begun = started(world_size=2)
    observe_all(core, [run, report(1, rank=1), report(2, rank=1), begun])
    assert core.snapshot().steps_lost == 0


def test_an_attempt_that_gives_way_to_a_larger_one_is_no_incident_and_loses_nothing() -> None:
    core = Core(WatchdogConfig())
    steps: list[Record] = [report(s) for s in range(1, 21)]
    ended = AttemptEnded(t_s=21.0, attempt=0, outcome=Outcome.RESIZED, step=20)
    begun = AttemptStarted(
        t_s=30.0, attempt=1, world_size=4, restored_step=20, storage=Storage.MEMORY, generation=1
    )
    conclusions = observe_all(core, [*started(), *steps, ended, begun])
    assert verdicts_of(conclusions) == []
    assert lines_of(conclusions, "incident_opened") == []
    assert core.snapshot().steps_lost == 0
    assert core.history().attempt == 1


def test_the_end_of_a_halted_attempt_has_the_reason_of_the_verdict() -> None:
    core = Core(WatchdogConfig.model_validate({"policy": {"budgets": {"nonfinite": 0}}}))
    steps: list[Record] = [report(s, math.nan if s >= 45 else 1.0) for s in range(1, 50)]
    ended = AttemptEnded(t_s=60.0, attempt=0, outcome=Outcome.HALTED, step=49)
    [halt] = verdicts_of(observe_all(core, [*started(), *steps, ended]))
    assert core.end_verdict == halt
    assert "policy.budgets.nonfinite=0" in halt.reason


def test_backlog_of_one_rank_waits_for_rank_0_which_tells_of_the_checkpoints() -> None:
    core = Core(WatchdogConfig())
    nan = float("nan")

    def losses(rank: int) -> list[Record]:
        return [report(s, 1.0 if s < 300 else nan, rank=rank) for s in range(41, 309)]

    first = [r for s in range(1, 41) for r in (report(s, rank=0), report(s, rank=1))]
    observe_all(core, [*started(world_size=2), *first])
    assert verdicts_of(observe_all(core, losses(1))) == []
    told: list[Record] = []
    for record in losses(0):
        told.append(record)
        step = getattr(record, "step", 0)
        if step % 8 == 0:
            held = tuple(range(step - 40, step + 1, 8))
            told.append(checkpoint(step, storage=Storage.MEMORY, held_steps=held))
    (verdict,) = verdicts_of(observe_all(core, told))
    assert (verdict.action, verdict.onset_step) == (Action.ROLLBACK, 300)
    assert 288 in verdict.trusted_steps
