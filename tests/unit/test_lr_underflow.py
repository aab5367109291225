import pytest

from tests.replay.rig import evaluation, noisy, observe_all, report, started, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.records import Action, Cause, Record, Verdict

CALM = noisy(0.9, 0.02, seed=6)


def verdicts(lrs: list[float | None], *, is_frozen: bool) -> list[Verdict]:
    """Return the verdicts on fifty calm steps at full rate and then these rates."""
    core = Core(WatchdogConfig())
    records: list[Record] = [*started(), *(report(s, CALM(0, s), lr=1e-3) for s in range(1, 51))]
    for step, lr in enumerate(lrs, start=51):
        records.append(report(step, 0.7979 if is_frozen else CALM(0, step), lr=lr))
    return verdicts_of(observe_all(core, records))


def test_rate_of_nothing_with_a_frozen_loss_halts_with_advice() -> None:
    (verdict,) = verdicts([8.88e-21] * 12, is_frozen=True)
    assert (verdict.cause, verdict.action) == (Cause.LR_UNDERFLOW, Action.HALT)
    assert verdict.onset_step == 51
    assert "the schedule has ended" in verdict.reason


@pytest.mark.parametrize("count", [1, 11])
def test_it_takes_twelve_frozen_records(count: int) -> None:
    assert verdicts([8.88e-21] * count, is_frozen=True) == []


def test_tiny_rate_alone_is_noise() -> None:
    assert verdicts([8.88e-21] * 60, is_frozen=False) == []


@pytest.mark.parametrize("lr", [None, 1e-3])
def test_frozen_loss_without_a_tiny_rate_is_told_by_dead_loss(lr: float | None) -> None:
    (verdict,) = verdicts([lr] * 30, is_frozen=True)
    assert verdict.cause is Cause.DEAD_LOSS


def verdicts_by_validation(losses: list[float], lr: float, every: int = 20) -> list[Verdict]:
    """Return the verdicts on a loss that goes on moving, with these validations at this rate."""
    core = Core(WatchdogConfig())
    records: list[Record] = [*started(), *(report(s, CALM(0, s), lr=1e-3) for s in range(1, 51))]
    for place, loss in enumerate(losses):
        first = 51 + place * every
        records += [report(s, CALM(0, s), lr=lr) for s in range(first, first + every)]
        records.append(evaluation(first + every - 1, val_loss=loss))
    records.append(report(51 + len(losses) * every, CALM(0, 0), lr=lr))
    return verdicts_of(observe_all(core, records))


FROZEN = 0.79791234567


def test_equal_validations_tell_where_each_step_has_other_samples() -> None:
    (verdict,) = verdicts_by_validation([0.8, FROZEN, FROZEN, FROZEN], 8.88e-21)
    assert (verdict.cause, verdict.action) == (Cause.LR_UNDERFLOW, Action.HALT)
    assert verdict.onset_step == 90
    assert "0.7979123457 for 3 validations, from step 90 on" in verdict.reason


@pytest.mark.parametrize(
    ("losses", "lr"),
    [
        ([0.8, FROZEN, FROZEN], 8.88e-21),  # one too few
        ([0.8, FROZEN, FROZEN, FROZEN], 1e-4),  # the rate is not nothing
        ([0.81, 0.7979, 0.7979, 0.7979, 0.7979], 8.88e-21),  # rounded
        ([0.8, FROZEN, FROZEN + 1e-9, FROZEN], 8.88e-21),  # still moving
    ],
)
def test_validations_that_prove_nothing_are_left_alone(losses: list[float], lr: float) -> None:
    assert verdicts_by_validation(losses, lr) == []
