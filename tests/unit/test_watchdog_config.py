import pickle
from pathlib import Path

import pytest
from pydantic import ValidationError

from watchdog.config import WatchdogConfig
from watchdog.config_file import read_config
from watchdog.errors import SpecError


def test_defaults_are_those_of_the_contract() -> None:
    config = WatchdogConfig()
    assert (config.mode, config.host, config.port) == ("act", "127.0.0.1", 9465)
    assert (config.policy.lr_factor, config.policy.min_lr, config.policy.rewarmup_steps) == (
        0.5,
        1e-7,
        10,
    )
    assert config.trust.clean_steps == 5
    assert config.detector("nonfinite").min_bad_steps == 3


def test_settings_survive_pickling_because_they_cross_ray() -> None:
    config = WatchdogConfig.model_validate({"detectors": {"spike": {"patience_steps": 7}}})
    assert pickle.loads(pickle.dumps(config)) == config


def test_settings_survive_the_job_file() -> None:
    config = WatchdogConfig.model_validate({"policy": {"lr_factor": 0.3}})
    assert WatchdogConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"modus": "act"}, "modus"),
        ({"detectors": {"spikes": {}}}, "spikes"),
        ({"detectors": {"spike": {"patience_steps": "32"}}}, "patience_steps"),
        ({"policy": {"lr_factor": 1.5}}, "lr_factor"),
        ({"policy": {"min_lr": float("nan")}}, "min_lr"),
        (
            {"signals": {"gap_steps": 4}},
            r"detectors.spike.shift_steps=8 .* signals.gap_steps=4",
        ),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(section: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WatchdogConfig.model_validate(section)


def test_section_of_a_job_file_is_read_without_the_rest(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("name: toy\nwatchdog:\n  policy:\n    min_lr: 1e-6\n")
    assert read_config(job).policy.min_lr == 1e-6
    job.write_text("name: toy\n")
    assert read_config(job) == WatchdogConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("watchdog: {policy: {lr_factor: 2}}", "watchdog.policy.lr_factor"),
        ("watchdog: [", "cannot read"),
        ("watchdog: 3", "watchdog in"),
    ],
)
def test_wrong_job_file_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(text)
    with pytest.raises(SpecError, match=message):
        read_config(job)


def test_missing_job_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot read .*job\.yaml"):
        read_config(tmp_path / "job.yaml")
