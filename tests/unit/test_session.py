"""One rank, in this process: what the session promises a training loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jobs.template.config import Config
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.job import Job
from runner.loop import train
from runner.recovery import AttemptPlan, RestorePoint
from runner.schedule import scheduled_lr
from runner.session import Session
from runner.spec import RunSpec
from runner.task import TaskContext
from tests.e2e.gloo_pair import VERDICT, ScriptedChannel, digest, spec
from watchdog.errors import RollbackFailed
from watchdog.records import (
    Action,
    AttemptStarted,
    CheckpointFailed,
    CheckpointSaved,
    EvalReport,
    LrChanged,
    Order,
    OrderKind,
    PhaseReport,
    RollbackDone,
    StepReport,
    Storage,
)


def run(
    folder: Path,
    channel: ScriptedChannel,
    *,
    run_spec: RunSpec | None = None,
    plan: AttemptPlan | None = None,
) -> Session:
    job = Job(run_spec or spec(60), Config(), None, str(folder))
    placement = Placement(0, 1, torch.device("cpu"))
    context = TaskContext(
        train=job.spec.train, data_dir=None, cache_dir=folder, device=placement.device
    )
    task = job.task_class()(job.task_config, context)
    store = CheckpointStore(str(folder / "checkpoints"))
    session = Session(job.spec, plan or AttemptPlan(), placement, channel, store)
    train(task, session)
    return session


def steps(channel: ScriptedChannel) -> list[StepReport]:
    return [r for r in channel.records if isinstance(r, StepReport)]


@pytest.fixture(autouse=True)
def _prompt_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty steps are over before the usual tenth of a second is."""
    monkeypatch.setattr("runner.telemetry._SEND_S", 0.0)
    monkeypatch.setattr("runner.telemetry._LOOK_S", 0.0005)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, ScriptedChannel]:
    channel = ScriptedChannel(None)
    return run(tmp_path_factory.mktemp("untouched"), channel), channel


def test_every_step_is_reported_once_and_in_order(
    untouched: tuple[Session, ScriptedChannel],
) -> None:
    reports = steps(untouched[1])
    assert [r.step for r in reports] == list(range(1, 61))
    assert all(r.is_finite and r.is_applied and r.samples == 9 for r in reports)
    assert all(r.loss is not None and r.grad_norm is not None for r in reports)
    assert all((r.step_s or 0) >= (r.data_s or 0) > 0 for r in reports)


def test_the_attempt_begins_and_ends_with_checkpoints(
    untouched: tuple[Session, ScriptedChannel],
) -> None:
    records = [r for r in untouched[1].records if not isinstance(r, PhaseReport)]
    assert isinstance(records[0], AttemptStarted)
    saved = [r for r in records if isinstance(r, CheckpointSaved)]
    memory = [r.step for r in saved if r.storage is Storage.MEMORY]
    assert memory == [0, 8, 16, 24, 32, 40, 48, 56, 60]
    assert [r.step for r in saved if r.storage is Storage.DURABLE] == [60]
    assert [r.held_steps for r in saved][-2:] in (
        [(24, 32, 40, 48, 56, 60), (60,)],
        [(60,), (24, 32, 40, 48, 56, 60)],
    )
    assert all(r.is_finite for r in saved)
    assert [r.step for r in records if isinstance(r, EvalReport)] == [60]


def test_a_stop_and_a_resume_end_bitwise_like_an_untouched_run(
    tmp_path: Path, untouched: tuple[Session, ScriptedChannel]
) -> None:
    stopped = run(tmp_path, ScriptedChannel(Order(order_id=1, kind=OrderKind.STOP)))
    assert 20 <= stopped.step < 60
    assert stopped.stopped_by is OrderKind.STOP
    plan = AttemptPlan(
        attempt=1,
        generation=1,
        restore=(RestorePoint(stopped.step, Storage.DURABLE), RestorePoint(0, None)),
    )
    channel = ScriptedChannel(None)
    resumed = run(tmp_path, channel, plan=plan)
    assert [r.step for r in steps(channel)] == list(range(stopped.step + 1, 61))
    assert digest(resumed.bare_model) == digest(untouched[0].bare_model)


def test_a_rollback_goes_back_scales_the_rate_and_skips_what_it_was_told(tmp_path: Path) -> None:
    verdict = replace(VERDICT, skip_samples=(3, 5), rewarmup_steps=2)
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=verdict))
    session = run(tmp_path, channel)
    [done] = [r for r in channel.records if isinstance(r, RollbackDone)]
    assert done.restored_step == 16
    assert done.storage is Storage.MEMORY
    assert done.steps_lost == done.step - 16
    before = {r.step: r for r in steps(channel) if r.generation == 0}
    after = {r.step: r for r in steps(channel) if r.generation == 1}
    assert sorted(after) == list(range(17, 61))
    assert sorted(before) == list(range(1, done.step + 1))
    rates = [(after[s].lr or 0) / (before[s].lr or 1) for s in (17, 18, 19)]
    assert rates == pytest.approx([0.5 / 3, 1 / 3, 0.5])
    assert not {3, 5} & {o for r in after.values() for o in r.sample_ids}
    assert session.step == 60


def test_a_change_of_the_rate_loses_no_step_and_is_told(tmp_path: Path) -> None:
    verdict = replace(VERDICT, action=Action.CONTINUE, lr_scale=0.5, rewarmup_steps=1)
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.SET_LR, verdict=verdict))
    session = run(tmp_path, channel)
    [changed] = [r for r in channel.records if isinstance(r, LrChanged)]
    assert (changed.lr_scale, changed.verdict_id) == (0.5, VERDICT.verdict_id)
    reports = {r.step: r for r in steps(channel)}
    assert sorted(reports) == list(range(1, 61))
    assert {r.generation for r in reports.values()} == {0}
    scheduled = session.spec.train
    rates = [
        (reports[s].lr or 0) / scheduled_lr(s, scheduled)
        for s in (changed.step, changed.step + 1, changed.step + 2)
    ]
    assert rates == pytest.approx([1.0, 0.75, 0.5])


def test_an_attempt_goes_on_in_the_middle_of_a_change_of_the_rate(tmp_path: Path) -> None:
    plan = AttemptPlan(lr_scale=1.0, lr_from_scale=0.5, lr_anchor_step=2, rewarmup_steps=1)
    channel = ScriptedChannel(None)
    session = run(tmp_path, channel, run_spec=spec(6), plan=plan)
    rates = [(r.lr or 0) / scheduled_lr(r.step, session.spec.train) for r in steps(channel)[:5]]
    assert rates == pytest.approx([0.5, 0.5, 0.75, 1.0, 1.0])


@pytest.mark.parametrize(("is_reset", "is_same"), [(False, True), (True, False)])
def test_a_rollback_forgets_the_momentum_only_when_ordered(
    tmp_path: Path, untouched: tuple[Session, ScriptedChannel], is_reset: bool, is_same: bool
) -> None:
    verdict = replace(VERDICT, lr_scale=1.0, reset_momentum=is_reset)
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=verdict))
    session = run(tmp_path, channel)
    assert (digest(session.bare_model) == digest(untouched[0].bare_model)) is is_same
    counts = {int(state["step"]) for state in session._learner.optimizer.state.values()}
    assert counts == ({60} if is_same else {60 - 16})


def test_an_attempt_starts_without_momentum_when_ordered(tmp_path: Path) -> None:
    run(tmp_path, ScriptedChannel(None), run_spec=spec(20))
    plan = AttemptPlan(
        attempt=1, generation=1, restore=(RestorePoint(20, Storage.DURABLE),), reset_momentum=True
    )
    session = run(tmp_path, ScriptedChannel(None), run_spec=spec(30), plan=plan)
    assert {int(state["step"]) for state in session._learner.optimizer.state.values()} == {10}


def test_an_attempt_tells_how_many_samples_an_epoch_has(
    untouched: tuple[Session, ScriptedChannel],
) -> None:
    [begun] = [r for r in untouched[1].records if isinstance(r, AttemptStarted)]
    assert begun.dataset_size == 512


def test_without_consequence_a_rollback_repeats_the_very_same_steps(
    tmp_path: Path, untouched: tuple[Session, ScriptedChannel]
) -> None:
    verdict = replace(VERDICT, lr_scale=1.0)
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=verdict))
    session = run(tmp_path, channel)
    assert digest(session.bare_model) == digest(untouched[0].bare_model)


def test_a_rollback_without_a_trusted_checkpoint_is_an_error_with_the_numbers(
    tmp_path: Path,
) -> None:
    verdict = replace(VERDICT, trusted_steps=())
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=verdict))
    with pytest.raises(RollbackFailed, match=r"older than step 18.*memory_keep=6"):
        run(tmp_path, channel)


def test_a_halt_leaves_no_durable_checkpoint_of_the_bad_state(tmp_path: Path) -> None:
    session = run(tmp_path, ScriptedChannel(Order(order_id=1, kind=OrderKind.HALT)))
    assert session.stopped_by is OrderKind.HALT
    assert not (tmp_path / "checkpoints").exists()


def test_training_goes_on_to_the_same_end_without_a_watchdog(
    tmp_path: Path, untouched: tuple[Session, ScriptedChannel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.telemetry._LAST_CHANCE_S", 0.01)
    session = run(tmp_path, ScriptedChannel(None, is_down=True))
    assert session.step == 60
    assert digest(session.bare_model) == digest(untouched[0].bare_model)


def test_micro_batches_change_only_the_rounding(
    tmp_path: Path, untouched: tuple[Session, ScriptedChannel]
) -> None:
    whole = spec(60)
    small = whole.model_copy(
        update={"train": whole.train.model_copy(update={"micro_batch_size": 2})}
    )
    session = run(tmp_path, ScriptedChannel(None), run_spec=small)
    pairs = zip(session.bare_model.parameters(), untouched[0].bare_model.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)


def test_loader_processes_change_nothing(
    tmp_path: Path, untouched: tuple[Session, ScriptedChannel]
) -> None:
    whole = spec(60)
    loading = whole.model_copy(update={"data": whole.data.model_copy(update={"loader_workers": 1})})
    verdict = replace(VERDICT, lr_scale=1.0)
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=verdict))
    session = run(tmp_path, channel, run_spec=loading)
    assert digest(session.bare_model) == digest(untouched[0].bare_model)


def test_a_nan_drill_is_skipped_by_the_reflex_and_reported(tmp_path: Path) -> None:
    drilled = spec(30).model_copy(update={"drill": "nan@step=10,count=2"})
    channel = ScriptedChannel(None)
    run(tmp_path, channel, run_spec=drilled)
    bad = [r.step for r in steps(channel) if not r.is_finite]
    assert bad == [10, 11]
    assert [r.step for r in steps(channel) if not r.is_applied] == [10, 11]
    assert all(r.is_finite for r in channel.records if isinstance(r, CheckpointSaved))


def test_a_state_too_large_for_memory_is_left_to_storage_and_training_goes_on(
    tmp_path: Path, untouched: tuple[Session, ScriptedChannel]
) -> None:
    plain = spec(60)
    room = {"memory_limit_gb": 0.0, "every_steps": 8}
    narrow = plain.model_copy(update={"checkpoints": plain.checkpoints.model_copy(update=room)})
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=VERDICT))
    session = run(tmp_path, channel, run_spec=narrow)
    assert session.step == 60
    [started] = [r for r in channel.records if isinstance(r, AttemptStarted)]
    assert (started.memory or "").startswith(
        "no memory checkpoints: two and two buffers of 0.0 MiB"
    )
    saved = [r for r in channel.records if isinstance(r, CheckpointSaved)]
    assert {r.storage for r in saved} == {Storage.DURABLE}
    [done] = [r for r in channel.records if isinstance(r, RollbackDone)]
    assert (done.restored_step, done.storage) == (16, Storage.DURABLE)
    [first] = [r for r in untouched[1].records if isinstance(r, AttemptStarted)]
    assert (first.memory or "").startswith("memory checkpoints: 6 every 8 steps")


def test_a_damaged_checkpoint_is_passed_over_in_a_rollback(tmp_path: Path) -> None:
    """Memory holds nothing, the newest trusted checkpoint is damaged: the one before will do."""
    plain = spec(60)
    room = {"memory_limit_gb": 0.0, "every_steps": 8, "keep": 9}
    narrow = plain.model_copy(
        update={
            "checkpoints": plain.checkpoints.model_copy(update=room),
            "drill": "corrupt_checkpoint@step=16",
        }
    )
    channel = ScriptedChannel(Order(order_id=1, kind=OrderKind.ROLLBACK, verdict=VERDICT))
    run(tmp_path, channel, run_spec=narrow)
    [done] = [r for r in channel.records if isinstance(r, RollbackDone)]
    assert (done.restored_step, done.storage) == (8, Storage.DURABLE)
    failed = [r for r in channel.records if isinstance(r, CheckpointFailed)]
    assert [(r.step, r.operation) for r in failed] == [(16, "restore")]
    steps_kept = {path.parent.name for path in tmp_path.rglob("manifest.json")}
    assert "step_00000008" in steps_kept
