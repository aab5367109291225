import pytest

from tests.replay.rig import evaluation, judge, noisy, observe_all, report, started, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.records import Action, Cause, Record

CALM = noisy(0.9, 0.02, seed=6)


def falling(steps: int) -> list[float | None]:
    return [CALM(0, step) * step**-0.1 for step in range(1, steps + 1)]


@pytest.mark.parametrize(("repeats", "is_found"), [(23, False), (24, True)])
def test_loss_that_is_constant_to_the_digit_is_dead_at_the_24th_record(
    repeats: int, is_found: bool
) -> None:
    found = verdicts_of(judge([*falling(100), *[0.7979] * repeats]))
    assert bool(found) is is_found
    if found:
        assert (found[0].cause, found[0].onset_step) == (Cause.DEAD_LOSS, 101)


def test_calm_loss_is_alive() -> None:
    assert verdicts_of(judge(falling(300))) == []


def test_converged_loss_told_with_few_digits_is_rounding() -> None:
    """0.0012 for twenty epochs hides changes of eight per cent."""
    shrinking: list[float | None] = [round(0.05 * 0.93**i, 4) for i in range(52)]
    assert verdicts_of(judge([*shrinking, *[0.0012] * 60])) == []


def test_loss_that_faded_to_zero_is_no_dead_loss() -> None:
    shrinking: list[float | None] = [round(0.05 * 0.9**i, 4) for i in range(80)]
    assert [v.cause for v in verdicts_of(judge([*shrinking, *[0.0] * 60]))] == []


def test_missing_losses_are_no_evidence() -> None:
    assert verdicts_of(judge([*falling(60), *[None] * 60])) == []


def test_frozen_epochs_with_frozen_validations_are_dead_sooner() -> None:
    core = Core(WatchdogConfig())
    records: list[Record] = list(started())
    for epoch in range(1, 12):
        loss = 0.026613 if epoch > 3 else 0.1 / epoch
        records.append(report(epoch, loss, epoch=float(epoch)))
        records.append(evaluation(epoch, val_loss=0.026512 if epoch > 3 else 0.2 / epoch))
    verdict = verdicts_of(observe_all(core, records))[0]
    assert (verdict.cause, verdict.step) == (Cause.DEAD_LOSS, 9)


def gradients(norms: list[float]) -> list[Cause]:
    core = Core(WatchdogConfig())
    reports = [report(s, CALM(0, s), grad_norm=norm) for s, norm in enumerate(norms, start=1)]
    return [v.cause for v in verdicts_of(observe_all(core, [*started(), *reports]))]


@pytest.mark.parametrize(("zeros", "is_found"), [(3, False), (4, True)])
def test_gradients_of_exactly_zero_are_dead(zeros: int, is_found: bool) -> None:
    assert gradients([1.0] * 20 + [0.0] * zeros) == []  # the last positive one is still in view
    assert (gradients([0.0] * zeros) == [Cause.DEAD_LOSS]) is is_found


def test_gradients_that_faded_to_zero_by_rounding_are_no_finding() -> None:
    assert gradients([0.5**i for i in range(12)] + [0.0] * 20) == []


def test_dead_loss_is_rolled_back_and_then_given_up() -> None:
    (verdict,) = verdicts_of(judge([*falling(100), *[0.7979] * 40]))
    assert verdict.action is Action.ROLLBACK
