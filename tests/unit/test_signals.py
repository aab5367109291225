import math

import pytest

from tests.replay.rig import evaluation, report
from watchdog.finiteness import Finiteness, SampleLog
from watchdog.signals import Signals, SignalsConfig
from watchdog.steps import JudgedStep


def judged(step: int, loss: float | None = 1.0, lr: float | None = None) -> JudgedStep:
    return JudgedStep(step, float(step), loss, None, lr, is_finite=True)


def learned(steps: int) -> Signals:
    signals = Signals(SignalsConfig())
    for step in range(1, steps + 1):
        signals.observe_step(judged(step))
        signals.settle()
    return signals


def test_newest_losses_are_kept_out_of_the_baseline() -> None:
    signals = learned(80)
    assert signals.baseline is not None
    assert signals.baseline.anchor_step <= 56
    assert [step for step, _ in signals.gap] == list(range(57, 81))


def test_frozen_baseline_learns_nothing_and_the_excursion_starts_at_the_onset() -> None:
    signals = learned(80)
    signals.freeze(78)
    before = signals.baseline
    assert before is not None
    assert before.anchor_step == 77
    for step in range(81, 200):
        signals.observe_step(judged(step, 50.0))
        signals.settle()
    assert signals.baseline == before
    assert signals.excursion is not None
    assert signals.excursion[0][0] == 78


def test_thawed_baseline_never_learns_the_losses_of_the_excursion() -> None:
    signals = learned(80)
    signals.freeze(81)
    for step in range(81, 100):
        signals.observe_step(judged(step, 50.0))
    signals.thaw()
    for step in range(100, 200):
        signals.observe_step(judged(step, 1.0))
        signals.settle()
    assert signals.baseline is not None
    assert signals.baseline.forecast(200) == pytest.approx(1.0)


def test_rewound_run_remembers_nothing_of_the_superseded_steps() -> None:
    signals = learned(80)
    signals.observe_validation(evaluation(40, val_loss=1.0))
    signals.observe_validation(evaluation(60, val_loss=1.0))
    signals.samples.note(report(70, sample_ids=(7,)))
    signals.finiteness.note(70, is_finite=False)
    signals.rewind(50, lr_scale=0.5)
    assert signals.latest is not None
    assert signals.latest.step == 50
    assert [v.step for v in signals.validations] == [40]
    assert signals.samples.of((70,)) == ()
    assert signals.finiteness.newest(100) == []
    assert signals.baseline is not None
    assert signals.baseline.anchor_step <= 50
    assert (signals.since_step, signals.comparable_steps) == (50, 0)


def test_peak_of_the_jobs_own_rate_leaves_the_multiplier_out() -> None:
    signals = Signals(SignalsConfig())
    signals.observe_step(judged(1, lr=1e-3))
    signals.rewind(0, lr_scale=0.5)
    signals.observe_step(judged(1, lr=5e-4))
    assert signals.max_lr == pytest.approx(1e-3)


@pytest.mark.parametrize("lr", [None, math.nan, math.inf, -1.0])
def test_impossible_rate_is_unknown(lr: float | None) -> None:
    signals = Signals(SignalsConfig())
    signals.observe_step(judged(1, lr=lr))
    assert signals.max_lr is None


def test_usual_step_time_is_that_before_the_incident() -> None:
    signals = Signals(SignalsConfig())
    for step in range(1, 50):
        t_s = 0.5 * step if step < 40 else 100.0 * step
        signals.observe_step(JudgedStep(step, t_s, 1.0, None, None, is_finite=True))
    assert signals.usual_step_s(40) == pytest.approx(0.5)
    assert signals.usual_step_s(1) is None


def test_older_validation_is_ignored() -> None:
    signals = Signals(SignalsConfig())
    signals.observe_validation(evaluation(40))
    signals.observe_validation(evaluation(40))
    assert len(signals.validations) == 1


def test_bad_step_is_news_once_and_from_whichever_rank() -> None:
    finiteness = Finiteness(size=4)
    assert [finiteness.note(1, True), finiteness.note(1, False), finiteness.note(1, False)] == [
        False,
        True,
        False,
    ]


def test_step_that_arrives_late_is_put_in_its_place() -> None:
    finiteness = Finiteness(size=4)
    for step, is_finite in ((1, True), (3, True), (2, False), (4, True)):
        finiteness.note(step, is_finite)
    assert finiteness.newest(2) == []
    assert finiteness.newest(3) == [2]


def test_step_older_than_all_that_is_remembered_is_no_news() -> None:
    finiteness = Finiteness(size=2)
    finiteness.note(5, True)
    finiteness.note(6, True)
    assert not finiteness.note(1, False)
    assert finiteness.newest(9) == []


def test_samples_of_all_ranks_are_joined_and_bounded() -> None:
    log = SampleLog(max_steps=2, max_samples=5)
    log.note(report(1, sample_ids=(1, 2)))
    log.note(report(1, rank=1, sample_ids=(3,)))
    assert log.of((1, 2)) == (1, 2, 3)
    log.note(report(2, sample_ids=(4, 5, 6)))
    assert log.of((1, 2)) == (4, 5, 6)
    log.note(report(3, sample_ids=tuple(range(100))))
    assert len(log.of((3,))) == 100


def wavering(signals: Signals, steps: range, rise: float = 0.0) -> None:
    """Let losses with a little noise pass, raised by a share."""
    for step in steps:
        signals.observe_step(judged(step, (1.0 + 0.01 * (step % 3)) * (1 + rise)))
        signals.settle()


def test_rolled_back_excursion_is_not_how_far_a_healthy_run_strays() -> None:
    signals = Signals(SignalsConfig())
    wavering(signals, range(1, 121))
    signals.freeze(121)
    wavering(signals, range(121, 161), rise=5.0)
    signals.rewind(120, lr_scale=0.5)
    wavering(signals, range(121, 241))
    assert max(signals.wander) < 5
