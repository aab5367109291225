import pytest
from pydantic import ValidationError

from tests.replay.rig import lines_of, noisy, observe_all, report, started, verdicts_of
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.detectors.skipped_batches import Config
from watchdog.interventions import Conclusion
from watchdog.records import Cause

CALM = noisy(2.2, 0.01, seed=3)


def skipping(every: int, steps: int = 200) -> list[Conclusion]:
    """Return what is concluded when one step in `every` is skipped, without a bad loss."""
    reports = [report(s, CALM(0, s), is_applied=s % every != 0) for s in range(1, steps + 1)]
    return observe_all(Core(WatchdogConfig()), [*started(), *reports])


def test_less_than_one_in_twenty_is_fine() -> None:
    assert skipping(25)[2:] == []


def test_one_in_ten_is_suspect_and_never_acted_on() -> None:
    conclusions = skipping(10)
    assert [x["cause"] for x in lines_of(conclusions, "suspect")] == ["skipped_batches"]
    assert verdicts_of(conclusions) == []


def test_one_in_four_is_an_incident() -> None:
    verdict = verdicts_of(skipping(4))[0]
    assert (verdict.cause, verdict.onset_step) == (Cause.SKIPPED_BATCHES, 16)
    assert verdict.step == 112  # the first block with a full window


def test_window_has_to_be_full() -> None:
    assert skipping(4, steps=99)[2:] == []


def test_warning_above_the_limit_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"warn_ratio=0\.5 is above max_ratio=0\.2"):
        Config(warn_ratio=0.5)
