import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.policies.probe import choose, gain, trial_scales
from watchdog.steps import JudgedStep
from watchdog.trials import Trial

STEPS = range(101, 161)


def judged(step: int, loss: float | None = 1.0) -> JudgedStep:
    return JudgedStep(
        step=step, t_s=float(step), loss=loss, grad_norm=None, lr=None, is_finite=True
    )


def trial(
    scale: float, level: Callable[[int], float], noise: float = 0.05, failure: str = ""
) -> Trial:
    """Return a trial; the noise of a step is that of its batch, the same in every trial."""
    losses = {
        step: level(step - 100) * math.exp(random.Random(step).gauss(0, noise)) for step in STEPS
    }
    return Trial(scale, losses, len(losses), failure)


def flat(step: int) -> float:
    return 2.0


def falling(step: int) -> float:
    return 2.0 * math.exp(-0.002 * step)


def slowly_falling(step: int) -> float:
    return 2.0 * math.exp(-0.0005 * step)


def first_worse_then_better(step: int) -> float:
    return 2.2 * math.exp(-0.004 * step)


@pytest.mark.parametrize(
    ("others", "best"),
    [
        ({2.0: falling}, 2.0),
        ({0.5: falling, 2.0: slowly_falling}, 0.5),
        ({10.0: first_worse_then_better}, 10.0),  # the trend decides, not the level
        ({0.5: flat, 2.0: flat}, 1.0),
        ({2.0: lambda step: 2.0 * math.exp(0.002 * step)}, 1.0),
        ({2.0: lambda step: 2.0 * math.exp(-0.00002 * step)}, 1.0),  # too little to be worth it
    ],
)
def test_the_rate_is_kept_unless_another_is_better_beyond_the_noise(
    others: dict[float, Callable[[int], float]], best: float
) -> None:
    trials = [trial(1.0, flat), *(trial(scale, level) for scale, level in others.items())]
    choice = choose(trials, 1.0, 0.5)
    assert choice.lr_scale == best
    assert choice.is_better is (best != 1.0)


def test_a_gain_that_drowns_in_noise_of_its_own_is_not_believed() -> None:
    rng = random.Random(3)
    noisy = Trial(2.0, {step: 1.98 * math.exp(rng.gauss(0, 0.3)) for step in STEPS}, 60)
    assert choose([trial(1.0, flat), noisy], 1.0, 0.5).lr_scale == 1.0


def test_a_trial_that_broke_down_is_never_chosen() -> None:
    trials = [trial(1.0, flat), trial(10.0, falling, failure="the loss is NaN")]
    choice = choose(trials, 1.0, 0.5)
    assert choice.lr_scale == 1.0
    assert choice.rows[1]["failure"] == "the loss is NaN"
    assert "x 10: failed" in choice.reason


def test_where_everything_broke_down_the_rate_is_reduced() -> None:
    choice = choose([trial(1.0, flat, failure="a"), trial(2.0, flat, failure="b")], 1.0, 0.5)
    assert (choice.lr_scale, choice.is_better) == (0.5, False)


def test_where_the_present_rate_broke_down_the_first_that_ran_is_what_others_have_to_beat() -> None:
    trials = [trial(0.25, flat), trial(0.5, falling), trial(1.0, flat, failure="NaN")]
    choice = choose(trials, 1.0, 0.5)
    assert choice.lr_scale == 0.5


def test_trials_too_short_to_be_compared_change_nothing() -> None:
    short = [Trial(scale, dict.fromkeys(range(11), 1.0 / scale), 11) for scale in (1.0, 2.0)]
    assert gain(short[1], short[0]) is None
    assert choose(short, 1.0, 0.5).lr_scale == 1.0


def test_losses_of_any_sign_are_compared() -> None:
    keep = Trial(1.0, dict.fromkeys(STEPS, -1.0), 60)
    better = Trial(2.0, {step: -1.0 - 0.01 * (step - 100) for step in STEPS}, 60)
    assert choose([keep, better], 1.0, 0.5).lr_scale == 2.0


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-6, 1e6), st.integers(0, 5))
def test_the_unit_of_the_loss_does_not_matter(unit: float, seed: int) -> None:
    rng = random.Random(seed)

    def drawn(scale: float, factor: float) -> Trial:
        slope = rng.uniform(-0.002, 0.001)
        losses = {step: factor * 2.0 * math.exp(slope * (step - 100)) for step in STEPS}
        return Trial(scale, losses, 60)

    state = rng.getstate()
    plain = choose([drawn(s, 1.0) for s in (1.0, 0.5, 4.0)], 1.0, 0.5)
    rng.setstate(state)
    scaled = choose([drawn(s, unit) for s in (1.0, 0.5, 4.0)], 1.0, 0.5)
    assert scaled.lr_scale == plain.lr_scale


@pytest.mark.parametrize(
    ("max_lr", "expected"),
    [(None, (0.125, 0.5, 5.0)), (1e-3, (0.125, 0.5, 5.0)), (2e-7, (0.5, 5.0)), (1e-9, (0.5,))],
)
def test_rates_under_the_floor_are_not_tried(
    max_lr: float | None, expected: tuple[float, ...]
) -> None:
    assert trial_scales(0.5, (0.25, 1.0, 10.0), max_lr=max_lr, min_lr=1e-7) == expected
