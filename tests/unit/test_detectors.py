"""What every detector must be, whatever it looks for."""

import logging
from collections.abc import Mapping

import pytest
from pydantic import ValidationError

from tests.replay.rig import judge, noisy, observe_all, report, started
from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.detectors import DETECTORS, Detector
from watchdog.findings import Finding
from watchdog.panel import Panel
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals, SignalsConfig


@pytest.mark.parametrize("name", DETECTORS)
def test_detector_is_a_function_of_signals_and_its_own_frozen_settings(name: str) -> None:
    detector = DETECTORS[name]
    config = detector.config()
    assert detector.detect(Signals(SignalsConfig()), config) is None
    assert detector.detect.__module__ == f"watchdog.detectors.{name}"
    with pytest.raises(ValidationError, match="frozen"):
        config.enabled = False  # type: ignore[misc]


@pytest.mark.parametrize("name", DETECTORS)
def test_every_setting_is_described(name: str) -> None:
    fields = DETECTORS[name].config.model_fields
    assert [field for field, info in fields.items() if not info.description] == []


def test_settings_have_one_section_for_each_file() -> None:
    assert set(type(WatchdogConfig().detectors).model_fields) == set(DETECTORS)


def test_calm_run_is_silent_for_all_of_them() -> None:
    calm = noisy(2.0, 0.01, seed=9)
    losses: list[float | None] = [calm(0, s) * s**-0.2 for s in range(1, 600)]
    assert [c for c in judge(losses) if getattr(c, "kind", "") != "suspect"][2:] == []


def test_detector_that_is_switched_off_is_not_asked() -> None:
    off = {name: {"enabled": False} for name in DETECTORS}
    config = WatchdogConfig.model_validate({"detectors": off})
    losses: list[float | None] = [*[1.0] * 500, *[float("nan")] * 20]
    assert judge(losses, config)[2:] == []


def _explode(signals: Signals, config: DetectorConfig) -> Finding | None:
    raise ZeroDivisionError("a bug")


def test_detector_that_raises_is_disabled_and_named(caplog: pytest.LogCaptureFixture) -> None:
    nonfinite = DETECTORS["nonfinite"]
    registry: Mapping[str, Detector] = {
        "nonfinite": nonfinite,
        "spike": Detector("spike", DETECTORS["spike"].config, _explode),
    }
    panel = Panel(WatchdogConfig(), registry)
    signals = Signals(SignalsConfig())
    for step in (1, 2, 3):
        signals.finiteness.note(step, is_finite=False)
    with caplog.at_level(logging.ERROR):
        assert len(panel.findings(signals)) == 1
        assert len(panel.findings(signals)) == 1
    assert panel.disabled == ("spike",)
    assert len(caplog.records) == 1


def test_snapshot_names_disabled_detectors() -> None:
    core = Core(WatchdogConfig())
    observe_all(core, [*started(), report(1)])
    assert core.snapshot().detectors_disabled == ()
