import pytest

from tests.unit.test_probe import judged
from watchdog.trials import TRANSITIONS, Stage, Trials


def begun(count: int = 2, steps: int = 3) -> Trials:
    trials = Trials(1.0, [float(n) for n in range(1, count + 1)], steps)
    trials.restored(40)
    return trials


def test_a_trial_ends_with_exactly_its_last_step() -> None:
    trials = begun(steps=3)
    assert [trials.note(judged(step)) for step in (41, 42, 43)] == [False, False, True]


def test_every_scale_has_its_turn_and_then_it_is_over() -> None:
    trials = begun(count=3)
    order = [trials.current.lr_scale]
    while trials.advance():
        trials.restored(40)
        order.append(trials.current.lr_scale)
    assert order == [1.0, 2.0, 3.0]
    assert trials.stage is Stage.OVER
    assert len(trials.done) == 3


def test_a_step_without_a_finite_loss_counts_as_trained() -> None:
    trials = begun(steps=2)
    trials.note(judged(41, float("nan")))
    assert trials.note(judged(42, None))
    assert trials.current.losses == {}


def test_another_step_restored_ends_the_probe_before_it_compares_apples_with_pears() -> None:
    trials = begun()
    trials.advance()
    assert not trials.restored(20)
    assert trials.stage is Stage.OVER
    assert "restored step 20, not 40" in trials.current.failure


def test_table_has_a_row_for_every_stage_and_over_is_the_end() -> None:
    assert set(TRANSITIONS) == set(Stage)
    assert TRANSITIONS[Stage.OVER] == frozenset()


@pytest.mark.parametrize("stage", list(Stage))
def test_no_stage_follows_itself(stage: Stage) -> None:
    assert stage not in TRANSITIONS[stage]
