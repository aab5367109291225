import dataclasses
import math
from typing import Any

import pytest

from tests.replay.rig import Rig, evaluation, noisy, observe_all, report, started, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.records import Action, Cause, Record, Verdict
from watchdog.trend import progress

NOISE = noisy(1.0, 0.02, seed=5)


def config(**plateau: Any) -> WatchdogConfig:
    return WatchdogConfig.model_validate({"detectors": {"plateau": plateau}})


def flat_after(step: int, steps: int) -> list[float]:
    """Return a loss that falls until `step` and not any more."""
    return [4.0 * min(s, step) ** -0.3 * NOISE(0, s) for s in range(1, steps + 1)]


def verdicts(losses: list[float], lrs: list[float] | None = None, **plateau: Any) -> list[Verdict]:
    core = Core(config(**plateau))
    reports: list[Record] = [
        report(step, loss, lr=None if lrs is None else lrs[step - 1])
        for step, loss in enumerate(losses, start=1)
    ]
    return verdicts_of(observe_all(core, [*started(), *reports]))


def test_true_plateau_is_acted_on() -> None:
    verdict = verdicts(flat_after(300, 1200))[0]
    assert (verdict.cause, verdict.action) == (Cause.PLATEAU, Action.ROLLBACK)
    assert 600 <= verdict.step <= 1000


def test_restore_target_is_not_older_than_the_plateau() -> None:
    verdict = verdicts(flat_after(300, 1200))[0]
    assert verdict.onset_step > 300
    assert verdict.skip_samples == ()


def test_slow_improvement_is_left_alone() -> None:
    assert verdicts([4.0 * s**-0.07 * NOISE(0, s) for s in range(1, 6000)]) == []


def test_noise_too_large_to_tell_is_left_alone() -> None:
    noise = noisy(1.0, 0.6, seed=2)
    assert verdicts([noise(0, s) for s in range(1, 700)]) == []


def test_full_window_is_needed() -> None:
    assert verdicts([1.0] * 399) == []
    assert verdicts([1.0] * 400)[0].step == 400


def test_annealed_rate_is_left_alone() -> None:
    lrs = [1e-3 if s < 300 else 2e-4 for s in range(1, 1301)]
    assert verdicts(flat_after(300, 1300), lrs) == []
    assert verdicts(flat_after(300, 1300), lrs, min_lr_ratio=0.1) != []


def test_rate_that_warms_up_starts_the_window_anew() -> None:
    lrs = [1e-6 * min(s, 500) for s in range(1, 1000)]
    assert verdicts([1.0] * 880, lrs[:880]) == []
    assert verdicts([1.0] * 999, lrs)[0].step == 912  # the first block past the 400th at full rate


@pytest.mark.parametrize("target", [{"target_loss": 1.0}, {"target_metric": 0.9}])
def test_run_that_reached_its_target_is_left_alone(target: dict[str, float]) -> None:
    core = Core(config(**target))
    records: list[Record] = list(started())
    for step in range(1, 900):
        records.append(report(step, 1.0 - 1e-6 * (step % 2)))
        if step % 100 == 0:
            records.append(evaluation(step, val_metric=0.9))
    assert verdicts_of(observe_all(core, records)) == []


def test_improving_validation_contradicts_a_flat_loss() -> None:
    core = Core(config())
    records: list[Record] = list(started())
    for step in range(1, 900):
        records.append(report(step, 1.0))
        if step % 50 == 0:
            records.append(evaluation(step, val_metric=step / 1000))
    assert verdicts_of(observe_all(core, records)) == []


def test_flat_validation_with_a_loss_too_noisy_to_tell_is_acted_on() -> None:
    noise = noisy(1.0, 0.6, seed=4)
    core = Core(config())
    records: list[Record] = list(started())
    for step in range(1, 600):
        records.append(report(step, noise(0, step)))
        if step % 40 == 0:
            records.append(evaluation(step, val_loss=1.0 if step > 80 else 2.0))
    verdict = verdicts_of(observe_all(core, records))[0]
    assert verdict.cause is Cause.PLATEAU
    assert "last 12 validations" in verdict.reason


def test_overfitting_is_no_plateau() -> None:
    core = Core(config())
    records: list[Record] = list(started())
    for step in range(1, 400):
        records.append(report(step, 4.0 * step**-0.4))
        if step % 20 == 0:
            records.append(evaluation(step, val_loss=1.0 + step / 1000))
    assert verdicts_of(observe_all(core, records)) == []


def test_plateau_that_returns_lowers_the_rate_further_until_the_budget_is_spent() -> None:
    run = Rig(lambda generation, step: 1.0, last_step=8000).play()
    rollbacks = [v.lr_scale for v in run.verdicts if v.action is Action.ROLLBACK]
    assert rollbacks == [0.5, 0.25, 0.125]
    undone = [v.lr_scale for v in run.verdicts if v.action is Action.CONTINUE]
    assert undone == [1.0, 1.0, 1.0]
    assert run.verdicts[-1].action is Action.HALT
    assert "policy.budgets.plateau=3" in run.verdicts[-1].reason


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01])
def test_progress_is_the_fall_between_the_halves(share: float) -> None:
    moved = progress([1.0] * 8 + [1.0 - share] * 8)
    assert moved.fall == pytest.approx(-math.log(1 - share))


def test_progress_of_a_series_with_any_sign_is_relative_to_its_size() -> None:
    assert progress([-1.0] * 8 + [-3.0] * 8).fall == pytest.approx(1.0)
    assert progress([0.0] * 16).fall == 0.0


@pytest.mark.parametrize(("scheduled", "is_acted_on"), [(0.01, True), (0.00001, False)])
def test_a_rate_far_below_its_schedule_is_not_taken_for_annealing(
    scheduled: float, is_acted_on: bool
) -> None:
    """A learning rate cut to nothing by accident freezes the loss; an annealed one does so too."""
    core = Core(config(window_validations=6))
    records: list[Record] = [*started()]
    for step, loss in enumerate(flat_after(150, 900), start=1):
        is_cut = step > 150
        planned = scheduled if is_cut else 0.01
        rate = 0.00001 if is_cut else 0.01
        records.append(dataclasses.replace(report(step, loss, lr=rate), scheduled_lr=planned))
        if step % 50 == 0:
            records.append(evaluation(step, val_loss=4.0 * min(step, 150) ** -0.3))
    assert bool(verdicts_of(observe_all(core, records))) is is_acted_on


def chance_level(step: int) -> float:
    """Return a loss that stands at ln 2 but for its last digits, as a real run did."""
    return 0.6931 + 0.004 / step


def test_outliers_among_the_validations_do_not_hide_that_they_are_flat() -> None:
    core = Core(config())
    records: list[Record] = list(started())
    for epoch in range(1, 39):
        odd = {23: 0.72, 34: 0.84}.get(epoch, chance_level(epoch))
        records.append(dataclasses.replace(report(epoch, chance_level(epoch)), epoch=float(epoch)))
        records.append(evaluation(epoch, val_loss=odd))
    assert verdicts_of(observe_all(core, records))[0].cause is Cause.PLATEAU


def test_plateau_in_noise_is_told_by_the_progress_before_it() -> None:
    noise = noisy(1.0, 0.08, seed=9)
    losses = [4.0 * min(s, 500) ** -0.3 * noise(0, s) for s in range(1, 1800)]
    assert 800 <= verdicts(losses)[0].step <= 1600
    assert verdicts(losses, stalled_ratio=0.01) == []


def test_loss_down_to_a_thousandth_of_its_start_has_converged() -> None:
    noise = noisy(1.0, 0.08, seed=9)
    losses = [4.0 * min(s, 500) ** -1.7 * noise(0, s) for s in range(1, 1800)]
    assert verdicts(losses) == []
    assert verdicts(losses, converged_ratio=0.0) != []


def test_log_of_a_resumed_run_is_no_run_that_never_learned() -> None:
    flat = [1.0 + 0.002 * (s % 3) for s in range(45)]
    young = [report(50 * s, loss) for s, loss in enumerate(flat, start=1)]
    old = [report(100_000 + 50 * s, loss) for s, loss in enumerate(flat, start=1)]
    acted = [verdicts_of(observe_all(Core(config()), [*started(), *run])) for run in (young, old)]
    assert [bool(found) for found in acted] == [True, False]


def test_log_of_a_resumed_run_is_as_old_as_its_steps_say() -> None:
    flat = flat_after(300, 1200)
    old: list[Record] = [report(50_000 + s, loss) for s, loss in enumerate(flat, start=1)]
    assert verdicts_of(observe_all(Core(config()), [*started(), *old])) == []
