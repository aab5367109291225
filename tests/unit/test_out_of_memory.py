"""Running out of memory: a smaller micro-batch in the next attempt, and the same step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from runner.backend import outcome_of
from runner.batches import micro_batch_size
from runner.recovery import AttemptPlan, plan_attempt
from runner.spec import TrainConfig
from tests.e2e.gloo_pair import ScriptedChannel, spec
from tests.replay.rig import observe_all, report, started, verdicts_of
from tests.unit.test_session import run
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.records import Action, AttemptEnded, AttemptStarted, Cause, Outcome, Record


def ends(attempt: int, outcome: Outcome = Outcome.OUT_OF_MEMORY) -> list[Record]:
    """Return the end of an attempt, and the start of the next from the beginning."""
    return [
        AttemptEnded(t_s=50.0, attempt=attempt, outcome=outcome, step=20, error="x", rank=1),
        AttemptStarted(t_s=60.0, attempt=attempt + 1, world_size=1, generation=attempt + 1),
    ]


def test_each_time_the_micro_batch_is_halved_and_no_other_cause_undoes_it() -> None:
    core = Core(WatchdogConfig())
    steps: list[Record] = [report(s) for s in range(1, 21)]
    crash = ends(1, Outcome.WORKER_DIED)
    verdicts = verdicts_of(observe_all(core, [*started(), *steps, *ends(0), *crash, *ends(2)]))
    assert [v.cause for v in verdicts] == [Cause.OUT_OF_MEMORY, Cause.CRASH, Cause.OUT_OF_MEMORY]
    assert [v.micro_batch_scale for v in verdicts] == [0.5, 0.5, 0.25]
    assert "micro-batch x 0.25" in verdicts[-1].reason
    plan = plan_attempt(core.history(), None, (), ())
    assert plan.micro_batch_scale == 0.25


def test_a_model_that_never_fits_is_halted_with_advice() -> None:
    core = Core(WatchdogConfig())
    records = [*started(), *(r for attempt in range(5) for r in ends(attempt))]
    last = verdicts_of(observe_all(core, records))[-1]
    assert last.action is Action.HALT
    assert "policy.budgets.out_of_memory=4" in last.reason
    assert "smaller model" in last.reason


@pytest.mark.parametrize(
    ("micro", "batch_size", "scale", "expected"),
    [
        (None, 32, 1.0, None),
        (6, 32, 1.0, 6),
        (None, 32, 0.5, 8),
        (6, 32, 0.5, 3),
        (100, 32, 0.5, 8),
        (None, 33, 0.5, 8),
        (None, 32, 0.01, 1),
    ],
)
def test_the_scale_is_of_what_a_rank_holds_at_a_time(
    micro: int | None, batch_size: int, scale: float, expected: int | None
) -> None:
    train = TrainConfig(max_steps=1, batch_size=batch_size, lr=0.1, micro_batch_size=micro)
    assert micro_batch_size(train, 2, scale) == expected


def test_the_smaller_micro_batch_leaves_the_weights_as_they_were(tmp_path: Path) -> None:
    whole = run(tmp_path / "a", ScriptedChannel(None), run_spec=spec(30, batch_size=8))
    halved = run(
        tmp_path / "b",
        ScriptedChannel(None),
        run_spec=spec(30, batch_size=8),
        plan=AttemptPlan(micro_batch_scale=0.5),
    )
    assert len(halved._batch.parts) == 2
    pairs = zip(whole.bare_model.parameters(), halved.bare_model.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_the_drill_fails_until_the_micro_batch_fits(tmp_path: Path) -> None:
    drilled = spec(12, batch_size=8).model_copy(update={"drill": "oom@step=5,times=9"})
    with pytest.raises(torch.OutOfMemoryError, match="room for 4 samples, tried to hold 8"):
        run(tmp_path, ScriptedChannel(None), run_spec=drilled)
    again = run(
        tmp_path, ScriptedChannel(None), run_spec=drilled, plan=AttemptPlan(micro_batch_scale=0.5)
    )
    assert again.step == 12


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("torch.OutOfMemoryError: drill: out of memory on rank 0", Outcome.OUT_OF_MEMORY),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried", Outcome.OUT_OF_MEMORY),
        ("RuntimeError: CUDA out of memory. Tried to allocate", Outcome.OUT_OF_MEMORY),
        ("watchdog.errors.RollbackFailed: no trusted checkpoint", Outcome.ROLLBACK_FAILED),
        ("ValueError: memory", Outcome.EXCEPTION),
    ],
)
def test_an_error_that_crossed_processes_is_known_by_its_text(error: str, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome
