import math

import pytest

from tests.replay.rig import evaluation, judge, noisy, observe_all, report, started, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.records import Cause, Record, Verdict

NOISE = noisy(1.0, 0.01, seed=8)


def verdicts(losses: list[float]) -> list[Verdict]:
    noisy_losses: list[float | None] = [x * NOISE(0, i) for i, x in enumerate(losses)]
    return verdicts_of(judge(noisy_losses))


def test_early_rise_that_stays_is_found_within_32_steps() -> None:
    verdict = verdicts([12.3] * 3 + [15.0] * 40)[0]
    assert (verdict.cause, verdict.onset_step) == (Cause.DIVERGENCE, 4)
    assert verdict.step - verdict.onset_step < 32


def test_harmless_bump_of_the_first_steps_is_left_alone() -> None:
    bump = [7.0, 9.0, 12.0, 15.0, 17.0, 16.0, 14.0, 12.0, 10.5, 9.5, 8.5]
    assert verdicts(bump + [7.0 * step**-0.2 for step in range(1, 200)]) == []


def test_bump_on_its_way_down_is_given_time() -> None:
    descent = [48.0 - 1.3 * i for i in range(28)]
    assert verdicts([12.4, 12.4, *descent, *[11.0 * s**-0.2 for s in range(1, 100)]]) == []


def test_run_that_fell_back_to_where_it_began_has_lost_what_it_learned() -> None:
    learned = [4.8 - 0.07 * i for i in range(12)]
    verdict = verdicts([*learned, *[4.78] * 40])[0]
    assert verdict.cause is Cause.DIVERGENCE
    assert verdict.onset_step == 13


def test_slow_rise_over_a_share_of_the_run_is_a_drift() -> None:
    fall = [3.0 * step**-0.15 for step in range(1, 600)]
    rise = [fall[-1] * math.exp(0.0004 * i) for i in range(900)]
    assert verdicts(fall) == []
    assert verdicts(fall + rise)[0].cause in (Cause.DIVERGENCE, Cause.SPIKE)


def test_training_loss_that_rises_while_validation_falls_is_a_curriculum() -> None:
    core = Core(WatchdogConfig())
    records: list[Record] = list(started())
    for step in range(1, 1600):
        records.append(report(step, 0.1 * 1.003 ** max(0, step - 100) * NOISE(0, step)))
        if step % 20 == 0:
            records.append(evaluation(step, val_loss=3.0 * step**-0.3))
    assert [v.cause for v in verdicts_of(observe_all(core, records))] == []


@pytest.mark.parametrize(("val_loss", "is_found"), [(3.4, True), (2.6, False)])
def test_validation_worse_than_the_first_with_no_gain_in_training_is_divergence(
    val_loss: float, is_found: bool
) -> None:
    core = Core(WatchdogConfig())
    records: list[Record] = list(started())
    for step in range(1, 21):
        if step % 4 == 1:
            records.append(report(step * 100, 1.2 if step == 1 else 2.0))
        loss = 2.5 if step == 1 else val_loss * NOISE(0, step)
        records.append(evaluation(step * 100 + 50, val_loss=loss))
    found = verdicts_of(observe_all(core, records))
    assert [v.cause for v in found[:1]] == ([Cause.DIVERGENCE] if is_found else [])


def test_spike_that_is_followed_already_is_left_to_its_detector() -> None:
    (verdict,) = verdicts([2.2] * 100 + [4.4] * 40)
    assert (verdict.cause, verdict.onset_step) == (Cause.SPIKE, 101)
