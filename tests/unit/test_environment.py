"""Where and how a run was started, and how its settings differ from the defaults."""

from __future__ import annotations

import json
from pathlib import Path

from runner.environment import describe_environment, flat, git_state, write_environment
from runner.runs import RunFolder
from runner.settings_view import differences


def test_the_command_can_be_pasted_into_a_shell() -> None:
    found = describe_environment(
        ["submit", "--set", "a.b=[1, 2]", "--drill", "nan@step=4;kill@step=9"]
    )
    assert found["command"].startswith("python -m runner submit --set 'a.b=[1, 2]' --drill 'nan@")


def test_versions_and_hardware_are_texts(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_environment(run, ["submit"])
    shown = flat(json.loads(run.environment.read_text()))
    assert {"command", "python", "torch", "ray", "host", "processors"} <= shown.keys()
    assert all(isinstance(value, str) and value for value in shown.values())


def test_a_folder_without_a_repository_has_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) == {}


def test_an_odd_file_is_shown_as_far_as_it_goes() -> None:
    assert flat({"command": 5, "git": {"commit": None, "a": [1]}, "x": [1]}) == {
        "command": "5",
        "git a": "[1]",
    }


def test_only_settings_that_differ_are_listed() -> None:
    spec = {
        "name": "tiny",
        "workers": 2,
        "train": {"max_steps": 9, "lr": 0.5, "min_lr": 0.0, "clip_norm": 1.0},
        "checkpoints": {"keep": 7},
        "task": {"own": 1},
        "watchdog": {"detectors": {"plateau": {"window_steps": 1}}},
    }
    found = {item.name: (item.value, item.default) for item in differences(spec)}
    assert found["train.max_steps"] == ("9", "")
    assert found["checkpoints.keep"] == ("7", "3")
    assert found["watchdog.detectors.plateau.window_steps"][0] == "1"
    assert not {"name", "workers", "train.min_lr", "task.own"} & found.keys()


def test_a_spec_of_odd_types_has_differences_and_no_exception() -> None:
    assert differences({"train": [1], "watchdog": None, "x": {"y": {}}}) != ()
