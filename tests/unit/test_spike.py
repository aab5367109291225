import math

import pytest

from tests.replay.rig import judge, lines_of, noisy, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.detectors.spike import Config, detect
from watchdog.records import Cause
from watchdog.signals import Signals, SignalsConfig
from watchdog.steps import JudgedStep

CALM = noisy(2.2, 0.01, seed=3, tail=0.02)
SPIKE_ONLY = WatchdogConfig.model_validate({"detectors": {"plateau": {"enabled": False}}})


def calm(steps: int) -> list[float | None]:
    return [CALM(0, step) for step in range(1, steps + 1)]


def bloom(excess: float) -> float:
    """The shape of a real spike: 2.20, 5.10 at the worst, 2.22 thirty steps later."""
    return 2.2 + 2.9 * excess


def high(steps: int, factor: float = 2.0) -> list[float | None]:
    """Return losses that stay at a multiple of the calm ones."""
    return [CALM(0, 1000 + step) * factor for step in range(steps)]


def healing(steps: int = 30) -> list[float | None]:
    """Return the losses of the spike: four steps up, then down to 1 % of the height."""
    rise: list[float | None] = [bloom(x) for x in (0.05, 0.2, 0.6, 1.0)]
    return rise + [bloom(0.007 ** (i / (steps - 4))) for i in range(1, steps - 3)]


def learned(sigma_steps: int = 80) -> Signals:
    """Return signals that know a calm loss of 1 with a noise of 1 % in the logarithm."""
    signals = Signals(SignalsConfig())
    for step in range(1, sigma_steps + 1):
        signals.observe_step(judged(step, math.exp(0.01 * (1 if step % 2 else -1) / 1.4826)))
        signals.settle()
    return signals


def judged(step: int, loss: float | None) -> JudgedStep:
    return JudgedStep(step, float(step), loss, None, None, is_finite=True)


def test_first_bad_step_is_the_onset() -> None:
    opened = lines_of(judge([*calm(100), 6.0]), "suspect")[-1]
    assert (opened["onset_step"], opened["step"], opened["status"]) == (101, 101, "open")


def test_loss_that_stays_up_is_acted_on_within_32_steps_of_its_onset() -> None:
    (verdict,) = verdicts_of(judge([*calm(100), *high(40)]))
    assert (verdict.cause, verdict.onset_step) == (Cause.SPIKE, 101)
    assert verdict.step - verdict.onset_step < 32


def test_calm_run_with_heavy_tails_is_never_acted_on() -> None:
    for seed in range(5):
        loss = noisy(3.0, 0.02, seed=seed, tail=0.05)
        assert verdicts_of(judge([loss(0, step) for step in range(1, 1500)], SPIKE_ONLY)) == []


@pytest.mark.parametrize("seed", range(5))
def test_real_shaped_spike_that_heals_is_suspected_and_never_acted_on(seed: int) -> None:
    noise = noisy(1.0, 0.01, seed=seed, tail=0.05)
    shape = [*[2.2] * 120, *healing(), *[2.22] * 100]
    conclusions = judge([loss * noise(0, i) for i, loss in enumerate(shape) if loss is not None])
    assert verdicts_of(conclusions) == []
    statuses = [line["status"] for line in lines_of(conclusions, "suspect")]
    assert "open" in statuses
    assert statuses[-1] == "recovered"


def test_nothing_is_judged_before_the_history_is_long_enough() -> None:
    assert judge([1.0, 1.1, 0.9, 1.0, 1.1, 50.0, 60.0, 70.0])[2:] == []


def test_unknown_losses_are_no_evidence() -> None:
    assert verdicts_of(judge([*calm(100), *[None] * 100])) == []


@pytest.mark.parametrize(("sigmas", "is_found"), [(7.99, False), (8.01, True)])
def test_suspicion_is_exact_at_the_threshold(sigmas: float, is_found: bool) -> None:
    signals = learned()
    baseline = signals.baseline
    assert baseline is not None
    signals.observe_step(judged(81, baseline.threshold(sigmas, 81)))
    assert (detect(signals, Config()) is not None) is is_found


@pytest.mark.parametrize(("count", "is_found"), [(4, False), (5, True)])
def test_small_shift_is_suspected_when_half_of_the_newest_losses_show_it(
    count: int, is_found: bool
) -> None:
    signals = learned()
    assert signals.baseline is not None
    shifted = signals.baseline.threshold(4.0, 85)
    for i in range(8):
        signals.observe_step(judged(81 + i, shifted if i >= 8 - count else 1.0))
    finding = detect(signals, Config())
    assert (finding is not None) is is_found
    if finding is not None:
        assert finding.onset_step == 89 - count


def test_asked_twice_the_answer_is_the_same() -> None:
    signals = learned()
    signals.observe_step(judged(81, 9.0))
    assert detect(signals, Config()) == detect(signals, Config())


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_scale_of_the_loss_does_not_matter(scale: float) -> None:
    losses: list[float | None] = [CALM(0, step) * scale for step in range(1, 101)]
    (verdict,) = verdicts_of(judge([*losses, *(x * scale for x in high(32) if x)]))
    assert verdict.onset_step == 101


@pytest.mark.parametrize("level", [-5.0, 0.0])
def test_negative_losses_are_judged_as_they_are(level: float) -> None:
    noise = [math.log(CALM(0, step) / 2.2) for step in range(1, 101)]
    losses: list[float | None] = [level + x for x in noise]
    (verdict,) = verdicts_of(judge([*losses, *(level + 1.0 + x for x in noise[:32])]))
    assert verdict.onset_step == 101
    assert verdicts_of(judge([*losses, *(level - 1.0 + x for x in noise[:60])])) == []


def test_falling_loss_is_never_suspected() -> None:
    losses: list[float | None] = [10.0 * step**-0.5 for step in range(1, 800)]
    assert lines_of(judge(losses), "suspect") == []


def test_baseline_is_frozen_while_suspicious() -> None:
    """Thirty high losses must not become the new normal."""
    conclusions = judge([*calm(100), *high(32)])
    opened = lines_of(conclusions, "incident_opened")[0]
    assert 2.1 < opened["threshold"] < 2.4


def test_plain_patience_is_a_setting() -> None:
    config = WatchdogConfig.model_validate({"detectors": {"spike": {"patience_steps": 10}}})
    (verdict,) = verdicts_of(judge([*calm(100), *high(10)], config))
    assert verdict.step == 110


def test_partial_recovery_is_no_recovery() -> None:
    """6.4 rose to 14 and stayed at 7.1 in a real run: back to 10 % is not back."""
    noise = noisy(1.0, 0.01, seed=1)
    peak = [6.4 + 7.6 * math.exp(-(((i - 6) / 4) ** 2)) for i in range(12)]
    shape = [*[6.4] * 100, *peak, *[7.1] * 80]
    (verdict,) = verdicts_of(judge([x * noise(0, i) for i, x in enumerate(shape)]))
    assert verdict.cause is Cause.SPIKE
    assert 100 <= verdict.onset_step <= 104


def test_second_spike_while_the_first_heals_gets_its_own_patience() -> None:
    twice = [*healing()[:20], *healing(), *calm(60)]
    concluded = judge([*calm(100), *twice])
    assert verdicts_of(concluded) == []
    assert lines_of(concluded, "suspect")[-1]["status"] == "recovered"


def test_second_spike_that_stays_up_is_acted_on_in_its_own_patience() -> None:
    (verdict,) = verdicts_of(judge([*calm(100), *healing()[:20], *high(40)]))
    assert verdict.onset_step == 101
    assert verdict.step - 120 < 34


@pytest.mark.parametrize("level", [3e-5, 8e-5])
def test_rise_by_next_to_nothing_of_what_was_learned_is_told_and_never_acted_on(
    level: float,
) -> None:
    converged = noisy(level, 0.01, seed=5, tail=0.02)
    losses: list[float | None] = [0.69 * 0.97**step for step in range(330)]
    losses += [converged(0, step) for step in range(100)]
    losses += [converged(0, 500 + step) * 10 for step in range(300)]
    out = judge(losses, SPIKE_ONLY)
    assert lines_of(out, "suspect")
    assert verdicts_of(out) == []


def test_the_same_rise_is_acted_on_where_it_is_a_part_of_what_was_learned() -> None:
    converged = noisy(3e-5, 0.01, seed=5, tail=0.02)
    losses: list[float | None] = [0.01 * 0.97**step for step in range(190)]
    losses += [converged(0, step) for step in range(100)]
    losses += [converged(0, 500 + step) * 10 for step in range(300)]
    assert verdicts_of(judge(losses, SPIKE_ONLY))
