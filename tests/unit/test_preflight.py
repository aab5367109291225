"""A preflight is one table or one document; a failure refuses the run before anything exists."""

from __future__ import annotations

import io
import json
import math
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from rich.console import Console

from jobs.template.task import SpiralTask
from runner import admission
from runner.admission import admit, admit_unseen, preflight_alone, resolved_with_floor
from runner.job import Job
from runner.preflight.findings import (
    Finding,
    Level,
    Preflight,
    failed,
    finding_from_json,
    passed,
    unchecked,
    warned,
)
from runner.preflight.launch import run_preflight
from runner.preflight.table import show_findings, summary
from runner.spec_reader import ResolvedSpec, read_spec
from watchdog.errors import PreflightRefused


def result(*findings: Finding) -> Preflight:
    return Preflight("template", findings, 1.5)


@pytest.fixture
def resolved() -> ResolvedSpec:
    return read_spec("template")


def given(monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec, found: Preflight) -> Job:
    """Return a job whose preflight finds these things."""
    monkeypatch.setattr(admission, "run_preflight", lambda *args, **kwargs: found)
    return Job(resolved.spec, resolved.task_config, None, "cache")


ARGS = Namespace(runs_dir=Path("runs"), json=False)


def test_findings_come_back_from_json_as_they_were() -> None:
    finding = Finding(Level.WARN, "text", "remedy", {"a": 1.0}, "loss", "the loss")
    assert finding_from_json(json.loads(json.dumps(finding.to_json()))) == finding
    nan = passed("text", value=math.nan).to_json()
    assert json.loads(json.dumps(nan, allow_nan=False))["numbers"] == {"value": None}


def test_the_gravest_finding_is_the_result() -> None:
    assert result(passed("a"), unchecked("b")).worst is Level.PASS
    assert result(warned("a", "b"), passed("c")).worst is Level.WARN
    assert result(warned("a", "b"), failed("c", "d")).worst is Level.FAIL


def test_a_clean_preflight_before_a_submit_is_one_line(
    monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    job = given(monkeypatch, resolved, result(passed("a"), passed("b", estimate_s=120.0)))
    assert admit(job, resolved, ARGS) == resolved
    out = capsys.readouterr().out
    assert out == "preflight: 2 passed, in 1.5 s; the run will take about 2 min 0 s\n"


def test_a_warning_is_shown_and_does_not_refuse(
    monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    job = given(monkeypatch, resolved, result(passed("fine"), warned("odd", "mend it")))
    admit(job, resolved, ARGS)
    out = capsys.readouterr().out
    assert "odd" in out
    assert "mend it" in out
    assert "fine" not in out


def test_a_failure_refuses_with_what_failed_and_how_to_run_anyway(
    monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec
) -> None:
    job = given(monkeypatch, resolved, result(failed("image is noise", "mend it")))
    with pytest.raises(PreflightRefused, match=r"image is noise.*PREFLIGHT=0") as refused:
        admit(job, resolved, ARGS)
    assert refused.value.exit_code == 4


def test_json_is_one_document(
    monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    job = given(monkeypatch, resolved, result(passed("a"), failed("b", "c")))
    assert preflight_alone(job, Namespace(runs_dir=Path("runs"), json=True)) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["result"] == "fail"
    assert document["counts"] == {"pass": 1, "unchecked": 0, "warn": 0, "fail": 1}
    assert document["findings"][1]["remedy"] == "c"


def test_the_floor_reaches_the_watchdog_when_it_is_known_well(resolved: ResolvedSpec) -> None:
    sharp = result(passed("floor", floor_loss=0.7, floor_loss_error=0.001))
    told = resolved_with_floor(resolved, sharp).spec
    assert told.watchdog.detector("trivial").loss == 0.7
    vague = result(passed("floor", floor_loss=0.7, floor_loss_error=0.1))
    assert resolved_with_floor(resolved, vague) == resolved
    said = read_spec("template", overrides=["watchdog.detectors.trivial.classes=2"])
    assert resolved_with_floor(said, sharp) == said


def test_a_job_that_knows_its_floor_hands_it_on_without_preflight_too(
    monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec, tmp_path: Path
) -> None:
    job = Job(resolved.spec, resolved.task_config, None, str(tmp_path))
    assert admit_unseen(job, resolved) == resolved
    monkeypatch.setattr(SpiralTask, "trivial_loss", lambda _: 0.69)
    assert admit_unseen(job, resolved).spec.watchdog.detector("trivial").loss == 0.69


def test_the_table_names_each_check_once_and_says_what_to_do() -> None:
    rows = [
        Finding(Level.PASS, "first", title="loss"),
        Finding(Level.WARN, "second", "mend it", title="loss"),
    ]
    out = io.StringIO()
    found = result(*rows)
    show_findings(Console(file=out, width=80), found)
    assert out.getvalue().count("loss") == 1
    assert "-> mend it" in out.getvalue()
    assert summary(found) == "preflight: 1 passed, 1 warned, in 1.5 s"


def process_that(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """Have the checks run by a shell script in the place of Python."""
    script = folder / "python"
    script.write_text("\n".join(["#!/bin/sh", "cat > /dev/null", *lines]) + "\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


BEGINS = """echo '{"begins": "loss", "title": "the loss"}'"""
FINDS = "echo '" + json.dumps({"findings": [passed("fine").to_json()]}) + "'"


def test_a_check_that_kills_its_process_is_a_finding_with_its_last_line(
    monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec, tmp_path: Path
) -> None:
    job = Job(resolved.spec, resolved.task_config, None, str(tmp_path))
    process_that(monkeypatch, tmp_path, FINDS, BEGINS, "echo out of luck >&2", "kill -9 $$")
    found = run_preflight(job, tmp_path)
    # Another process goes on after the check that crashed; this one crashes again, thrice in all.
    assert [finding.level for finding in found.findings] == [Level.PASS, Level.FAIL] * 3
    assert found.findings[1].check == "loss"
    assert found.findings[1].title == "the loss"
    assert "was killed by SIGKILL; its last line: out of luck" in found.findings[1].text


def test_a_process_that_dies_before_any_check_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec, tmp_path: Path
) -> None:
    job = Job(resolved.spec, resolved.task_config, None, str(tmp_path))
    process_that(monkeypatch, tmp_path, "exit 7")
    [finding] = run_preflight(job, tmp_path).findings
    assert "ended with code 7" in finding.text


def test_a_check_that_hangs_is_ended_and_does_not_refuse(
    monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec, tmp_path: Path
) -> None:
    job = Job(resolved.spec, resolved.task_config, None, str(tmp_path))
    process_that(monkeypatch, tmp_path, "exec sleep 60")
    found = run_preflight(job, tmp_path, limit_s=0.05)
    assert found.worst is Level.WARN
    assert "said nothing for 0.05 s" in found.findings[0].text


def test_a_process_that_ends_well_has_its_findings_taken(
    monkeypatch: pytest.MonkeyPatch, resolved: ResolvedSpec, tmp_path: Path
) -> None:
    job = Job(resolved.spec, resolved.task_config, None, str(tmp_path))
    process_that(monkeypatch, tmp_path, BEGINS, FINDS, """echo '{"ends": true}'""")
    told: list[str] = []
    found = run_preflight(job, tmp_path, tell=told.append)
    assert [finding.text for finding in found.findings] == ["fine"]
    assert told == ["the loss"]
