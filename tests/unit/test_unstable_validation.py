"""Validations that are restless throughout, where the job says how much is too much."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tests.replay.rig import evaluation, lines_of, observe_all, report, started, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.detectors.unstable_validation import Config, detect
from watchdog.findings import Finding
from watchdog.signals import Signals, SignalsConfig
from watchdog.trend import curvature_noise, scale
from watchdog.validations import Validation

#: Of a run of the orion job at five times its rate with the steep penalty, from step 170 on, every
#: 10 steps; and of its healthy run, every 20 steps from step 160 on.
UNSTABLE = (
    *(0.0619, 0.0686, 0.0654, 0.0663, 0.0704, 0.0571, 0.0664, 0.0597),
    *(0.0642, 0.0591, 0.0590, 0.0630, 0.0608, 0.0616),
)
HEALTHY = (
    *(0.0480, 0.0468, 0.0481, 0.0444, 0.0447, 0.0456, 0.0495, 0.0443),
    *(0.0469, 0.0455, 0.0474, 0.0452, 0.0476, 0.0475),
)


def found(losses: Sequence[float], limit: float | None = 0.06) -> Finding | None:
    signals = Signals(SignalsConfig())
    signals.validations.extend(
        Validation(10 * place, loss, None) for place, loss in enumerate(losses, start=1)
    )
    return detect(signals, Config(max_unrest_ratio=limit))


def test_unrest_throughout_is_told_with_its_range() -> None:
    finding = found(UNSTABLE)
    assert finding is not None
    assert finding.onset_step == 30
    assert finding.summary.startswith("validation loss jumps between 0.0571 and 0.0704: ")


@pytest.mark.parametrize(
    ("losses", "limit"),
    [
        (HEALTHY, 0.06),
        (UNSTABLE, None),
        (UNSTABLE[:11], 0.06),
        ([math.exp(-step / 3) + 0.5 for step in range(14)], 0.06),
        ([1.0 / (1 + step) for step in range(4, 18)], 0.06),
    ],
    ids=["healthy", "not asked for", "too few", "falls and flattens", "power law"],
)
def test_other_validations_are_no_unrest(losses: Sequence[float], limit: float | None) -> None:
    assert found(losses, limit) is None


def test_the_limit_itself_is_no_unrest() -> None:
    spread = curvature_noise(scale(UNSTABLE[-12:]))
    assert found(UNSTABLE, spread) is None
    assert found(UNSTABLE, spread * 0.999) is not None


def test_the_spread_of_second_differences_is_blind_to_a_bend_and_true_to_noise() -> None:
    assert curvature_noise([5.0 - 0.3 * step for step in range(20)]) == pytest.approx(0.0, abs=1e-9)
    assert curvature_noise([1.0, -1.0] * 20) == pytest.approx(0.6053 * 4)
    assert curvature_noise([1.0]) == 0.0


def test_the_judge_tells_of_unrest_and_does_not_act() -> None:
    config = WatchdogConfig.model_validate(
        {"detectors": {"unstable_validation": {"max_unrest_ratio": 0.06}}}
    )
    records = [*started()]
    for place, loss in enumerate(UNSTABLE, start=1):
        records += [report(step, 0.1) for step in range(10 * place - 9, 10 * place + 1)]
        records.append(evaluation(10 * place, val_loss=loss))
    conclusions = observe_all(Core(config), records)
    assert [line["cause"] for line in lines_of(conclusions, "suspect")] == ["unstable_validation"]
    assert verdicts_of(conclusions) == []
