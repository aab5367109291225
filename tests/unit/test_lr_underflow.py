import pytest

from tests.replay.rig import noisy, observe_all, report, started, verdicts_of
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
