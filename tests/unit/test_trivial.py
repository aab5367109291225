import math
from typing import Any

import pytest

from tests.replay.rig import judge, lines_of, noisy, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.records import Cause

NOISE = noisy(1.0, 0.001, seed=2)


def config(**trivial: Any) -> WatchdogConfig:
    quiet = {name: {"enabled": False} for name in ("plateau", "divergence")}
    return WatchdogConfig.model_validate({"detectors": {**quiet, "trivial": trivial}})


def stuck(steps: int) -> list[float | None]:
    return [4.783 * NOISE(0, step) for step in range(steps)]


def test_loss_at_the_logarithm_of_the_classes_is_suspected_and_then_acted_on() -> None:
    conclusions = judge(stuck(900), config(classes=120))
    opened = lines_of(conclusions, "suspect")[0]
    assert (opened["cause"], opened["status"], opened["onset_step"]) == ("trivial", "open", 1)
    (verdict,) = verdicts_of(conclusions)
    assert (verdict.cause, verdict.onset_step) == (Cause.TRIVIAL, 1)
    assert 800 <= verdict.step <= 832


def test_measured_floor_is_used_as_it_is() -> None:
    assert verdicts_of(judge(stuck(900), config(loss=4.783)))[0].cause is Cause.TRIVIAL


def test_without_a_floor_nothing_is_said() -> None:
    assert judge(stuck(900), config())[2:] == []


def test_start_at_the_floor_is_no_finding() -> None:
    learning: list[float | None] = [math.log(120) * 0.9999**step for step in range(400)]
    assert verdicts_of(judge(learning, config(classes=120))) == []


@pytest.mark.parametrize(("away", "is_found"), [(0.005, True), (0.015, False)])
def test_one_per_cent_away_is_near(away: float, is_found: bool) -> None:
    losses: list[float | None] = [math.log(10) * (1 + away) * NOISE(0, s) for s in range(300)]
    assert bool(lines_of(judge(losses, config(classes=10)), "suspect")) is is_found
