from dataclasses import replace
from typing import Any

import pytest

from watchdog.diagnosis import Diagnosis
from watchdog.findings import Level
from watchdog.history import History
from watchdog.policies.ladder import Config, decide
from watchdog.records import Action, Cause

CONFIG = Config()
HISTORY = History(
    verdict_id=4,
    incident="run-1/spike/41",
    t_s=72.0,
    attempt=1,
    generation=2,
    step=72,
    max_lr=1e-3,
    trusted_steps=(16, 24, 32),
    durable_steps=(24,),
    bad_samples=(5, 6),
    skip_samples=(1, 2),
)


def diagnosis(cause: Cause = Cause.SPIKE, **fields: Any) -> Diagnosis:
    values: dict[str, Any] = {
        "cause": cause,
        "level": Level.INCIDENT,
        "onset_step": 41,
        "bad_until_step": 72,
        "summary": "the loss is high",
    }
    return Diagnosis(**{**values, **fields})


@pytest.mark.parametrize("cause", [Cause.NONFINITE, Cause.SPIKE, Cause.PLATEAU])
def test_numeric_cause_is_rolled_back_at_half_the_rate(cause: Cause) -> None:
    verdict = decide(diagnosis(cause), replace(HISTORY, lr_scale=0.5), CONFIG)
    assert (verdict.action, verdict.lr_scale) == (Action.ROLLBACK, 0.25)
    assert (verdict.onset_step, verdict.skip_samples) == (41, (5, 6))
    assert (verdict.rewarmup_steps, verdict.min_lr) == (10, 1e-7)
    assert verdict.trusted_steps == (16, 24, 32)


@pytest.mark.parametrize(
    ("many", "named"), [(range(4096), tuple(range(4096))), (range(4097), (0, 1500, 3000))]
)
def test_of_very_many_bad_samples_living_ranks_are_named_one_a_batch(
    many: range, named: tuple[int, ...]
) -> None:
    crowded = replace(HISTORY, bad_samples=tuple(many), bad_batches=(0, 1500, 3000))
    assert decide(diagnosis(), crowded, CONFIG).skip_samples == named
    dead = diagnosis(is_attempt_over=True)
    assert decide(dead, crowded, CONFIG).skip_samples == tuple(many), "nobody remembers batches"


@pytest.mark.parametrize("cause", [Cause.CRASH, Cause.NODE_LOST])
def test_dead_attempt_is_restarted_at_the_same_rate_with_everything_skipped(cause: Cause) -> None:
    dead = diagnosis(cause, is_attempt_over=True)
    verdict = decide(dead, replace(HISTORY, bad_samples=()), CONFIG)
    assert (verdict.action, verdict.lr_scale) == (Action.RESTART, 1.0)
    assert verdict.skip_samples == (1, 2)


@pytest.mark.parametrize(
    ("cause", "spent", "action"),
    [
        (Cause.SPIKE, 2, Action.ROLLBACK),
        (Cause.SPIKE, 3, Action.HALT),
        (Cause.NONFINITE, 3, Action.HALT),
        (Cause.PLATEAU, 3, Action.HALT),
    ],
)
def test_spent_budget_halts(cause: Cause, spent: int, action: Action) -> None:
    verdict = decide(diagnosis(cause), replace(HISTORY, spent={cause: spent}), CONFIG)
    assert verdict.action is action


def test_budget_of_another_cause_does_not_matter() -> None:
    history = replace(HISTORY, spent={Cause.CRASH: 99})
    assert decide(diagnosis(), history, CONFIG).action is Action.ROLLBACK


def test_halt_names_the_setting_the_advice_and_the_best_trusted_checkpoint() -> None:
    verdict = decide(diagnosis(), replace(HISTORY, spent={Cause.SPIKE: 3}), CONFIG)
    assert "policy.budgets.spike=3" in verdict.reason
    assert "lower train.lr" in verdict.reason
    assert "the best trusted checkpoint is that of step 24" in verdict.reason
    assert verdict.lr_scale == HISTORY.lr_scale


def test_halt_says_so_when_nothing_trusted_exists() -> None:
    history = replace(HISTORY, spent={Cause.SPIKE: 3}, durable_steps=(41, 60))
    assert "no trusted durable checkpoint" in decide(diagnosis(), history, CONFIG).reason


@pytest.mark.parametrize(
    ("lr_scale", "max_lr", "action"),
    [
        (1e-4, 1e-3, Action.HALT),
        (1.1e-4, 1e-3, Action.ROLLBACK),
        (1e-9, None, Action.ROLLBACK),  # unknown is not zero
    ],
)
def test_rate_at_its_floor_halts(lr_scale: float, max_lr: float | None, action: Action) -> None:
    history = replace(HISTORY, lr_scale=lr_scale, max_lr=max_lr)
    assert decide(diagnosis(), history, CONFIG).action is action


def test_crash_is_restarted_even_at_the_floor() -> None:
    dead = diagnosis(Cause.CRASH, is_attempt_over=True)
    assert decide(dead, replace(HISTORY, lr_scale=1e-9), CONFIG).action is Action.RESTART


@pytest.mark.parametrize(
    ("last_restored_step", "onset_step"),
    [
        (32, 32),  # older ones exist
        (16, 41),  # none is older: the same once more
        (None, 41),
    ],
)
def test_repeat_without_progress_goes_deeper_where_it_can(
    last_restored_step: int | None, onset_step: int
) -> None:
    history = replace(HISTORY, repeats=1, last_restored_step=last_restored_step)
    assert decide(diagnosis(), history, CONFIG).onset_step == onset_step


def test_a_run_that_is_stuck_again_is_not_taken_deeper() -> None:
    history = replace(HISTORY, repeats=2, last_restored_step=32)
    assert decide(diagnosis(Cause.PLATEAU), history, CONFIG).onset_step == 41


def test_a_stuck_run_whose_best_checkpoint_is_gone_goes_back_to_the_newest() -> None:
    history = replace(HISTORY, trusted_steps=(48, 56), durable_steps=(48,))
    assert decide(diagnosis(Cause.PLATEAU), history, CONFIG).onset_step == 73
    assert decide(diagnosis(Cause.SPIKE), history, CONFIG).onset_step == 41


def test_halt_of_a_stuck_run_names_its_newest_trusted_checkpoint() -> None:
    history = replace(HISTORY, spent={Cause.PLATEAU: 3}, durable_steps=(24, 56))
    assert "that of step 56" in decide(diagnosis(Cause.PLATEAU), history, CONFIG).reason


def test_lost_node_is_free_with_progress_and_charged_without() -> None:
    dead = diagnosis(Cause.NODE_LOST, is_attempt_over=True)
    history = replace(HISTORY, spent={Cause.NODE_LOST: 10})
    assert decide(dead, history, CONFIG).action is Action.RESTART
    assert decide(dead, replace(history, has_progress=False), CONFIG).action is Action.HALT


def test_asked_twice_the_answer_is_the_same() -> None:
    assert decide(diagnosis(), HISTORY, CONFIG) == decide(diagnosis(), HISTORY, CONFIG)


@pytest.mark.parametrize(("repeats", "is_reset"), [(0, False), (1, False), (2, True), (5, True)])
def test_momentum_is_reset_from_the_second_repeat_on(repeats: int, is_reset: bool) -> None:
    verdict = decide(diagnosis(), replace(HISTORY, repeats=repeats), CONFIG)
    assert verdict.reset_momentum is is_reset
    assert ("momentum reset" in verdict.reason) is is_reset


@pytest.mark.parametrize("cause", [Cause.CRASH, Cause.NODE_LOST])
def test_a_dead_attempt_keeps_its_momentum(cause: Cause) -> None:
    dead = diagnosis(cause, is_attempt_over=True)
    assert not decide(dead, replace(HISTORY, repeats=4), CONFIG).reset_momentum


def test_momentum_is_kept_when_asked() -> None:
    config = Config(reset_momentum=False)
    assert not decide(diagnosis(), replace(HISTORY, repeats=4), config).reset_momentum


def test_a_restart_carries_the_momentum_reset_of_the_rollback_it_replaces() -> None:
    pending = decide(diagnosis(), replace(HISTORY, repeats=2), CONFIG)
    dead = diagnosis(is_attempt_over=True, pending=pending)
    assert decide(dead, HISTORY, CONFIG).reset_momentum


@pytest.mark.parametrize(("undone", "lr_scale"), [(0, 0.5), (1, 0.25), (2, 0.125)])
def test_a_reduction_that_was_undone_is_not_tried_a_second_time(
    undone: int, lr_scale: float
) -> None:
    verdict = decide(diagnosis(Cause.PLATEAU), replace(HISTORY, undone=undone), CONFIG)
    assert verdict.lr_scale == lr_scale


PROBE = Config(lr="probe")


def test_a_plateau_is_probed_from_a_checkpoint_on_storage() -> None:
    verdict = decide(diagnosis(Cause.PLATEAU), HISTORY, PROBE)
    assert (verdict.action, verdict.lr_scale) == (Action.ROLLBACK, 0.25)
    assert verdict.trusted_steps == (24,)
    assert "learning rates x 0.25, 0.5, 1, 2, 4, 10 in turn" in verdict.reason


def test_a_probe_without_a_durable_checkpoint_takes_what_there_is() -> None:
    history = replace(HISTORY, durable_steps=())
    assert decide(diagnosis(Cause.PLATEAU), history, PROBE).trusted_steps == (16, 24, 32)


@pytest.mark.parametrize(
    ("max_steps", "lr_scale"), [(None, 0.25), (132, 0.25), (131, 0.5)], ids=["?", "fits", "short"]
)
def test_a_probe_needs_room_for_a_trial(max_steps: int | None, lr_scale: float) -> None:
    history = replace(HISTORY, max_steps=max_steps)
    assert decide(diagnosis(Cause.PLATEAU), history, PROBE).lr_scale == lr_scale


@pytest.mark.parametrize("cause", [Cause.SPIKE, Cause.NONFINITE])
def test_what_is_not_stuck_is_never_probed(cause: Cause) -> None:
    assert decide(diagnosis(cause), HISTORY, PROBE).lr_scale == 0.5


@pytest.mark.parametrize("multipliers", [[0.5, 2.0], [1.0, 1.0], [1.0, 0.0], [1.0]])
def test_multipliers_that_cannot_be_compared_are_an_error(multipliers: list[float]) -> None:
    with pytest.raises(ValueError, match="probe_multipliers"):
        Config.model_validate_json(f'{{"probe_multipliers": {multipliers}}}')


def test_multipliers_may_be_written_as_a_list_of_whole_numbers() -> None:
    assert Config.model_validate({"probe_multipliers": [1, 2]}).probe_multipliers == (1.0, 2.0)


def test_a_cause_without_a_budget_halts_at_once_and_says_why() -> None:
    verdict = decide(diagnosis(Cause.LR_UNDERFLOW), HISTORY, CONFIG)
    assert verdict.action is Action.HALT
    assert "nothing may be tried against lr_underflow" in verdict.reason
