import math

import pytest
from pydantic import ValidationError

from tests.replay.rig import checkpoint, judge, lines_of, observe_all, report, started, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.detectors.nonfinite import Config, detect
from watchdog.records import Action, Cause
from watchdog.signals import Signals, SignalsConfig


def signals_with(bad_steps: set[int], newest_step: int) -> Signals:
    signals = Signals(SignalsConfig())
    for step in range(1, newest_step + 1):
        signals.finiteness.note(step, step not in bad_steps)
    return signals


def test_burst_is_an_incident_from_its_first_bad_step() -> None:
    finding = detect(signals_with({41, 43, 44}, newest_step=44), Config())
    assert finding is not None
    assert (finding.cause, finding.onset_step, finding.bad_steps) == (
        Cause.NONFINITE,
        41,
        (41, 43, 44),
    )


@pytest.mark.parametrize(
    ("bad_steps", "newest_step", "is_found"),
    [
        (set(), 40, False),
        ({40}, 40, False),
        ({39, 40}, 40, False),
        ({33, 39, 40}, 40, True),  # the first one is the oldest of the eight
        ({32, 39, 40}, 40, False),  # one step older is out of the window
    ],
)
def test_three_of_eight_is_exact(bad_steps: set[int], newest_step: int, is_found: bool) -> None:
    assert (detect(signals_with(bad_steps, newest_step), Config()) is not None) is is_found


def test_calm_run_is_silent() -> None:
    assert verdicts_of(judge([1.0] * 100)) == []


def test_scattered_bad_steps_are_skips_and_no_incident() -> None:
    losses = [math.nan if step % 20 == 0 else 1.0 for step in range(1, 200)]
    assert verdicts_of(judge(losses)) == []


def test_burst_at_the_very_first_steps_is_found() -> None:
    verdict = verdicts_of(judge([math.nan] * 3))[0]
    assert (verdict.action, verdict.onset_step) == (Action.ROLLBACK, 1)


def test_unknown_loss_is_not_taken_for_nan() -> None:
    assert verdicts_of(judge([None] * 50)) == []


def test_first_rank_to_report_is_enough() -> None:
    core = Core(WatchdogConfig())
    reports = [report(step, math.nan if step > 10 else 1.0, rank=0) for step in range(1, 14)]
    (verdict,) = verdicts_of(observe_all(core, [*started(world_size=64), *reports]))
    assert (verdict.step, verdict.onset_step) == (13, 11)


def test_gradient_norm_alone_counts_when_the_step_was_not_finite() -> None:
    core = Core(WatchdogConfig())
    reports = [report(s, 1.0, grad_norm=math.inf, is_finite=False) for s in (1, 2, 3)]
    assert len(verdicts_of(observe_all(core, [*started(), *reports]))) == 1


def test_checkpoint_with_broken_weights_needs_no_second_sign() -> None:
    core = Core(WatchdogConfig())
    observe_all(core, [*started(), *(report(step) for step in range(1, 21))])
    conclusions = observe_all(core, [checkpoint(20, is_finite=False)])
    (verdict,) = verdicts_of(conclusions)
    assert (verdict.cause, verdict.onset_step) == (Cause.NONFINITE, 20)
    assert [line["step"] for line in lines_of(conclusions, "checkpoint_tainted")] == [20]


def test_burst_that_never_fits_its_window_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_bad_steps=9 never fit in window_steps=8"):
        Config(min_bad_steps=9)
