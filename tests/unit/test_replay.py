import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.replay.rig import Rig, noisy
from tests.unit import foreign_files as made
from watchdog.__main__ import main
from watchdog.config import WatchdogConfig
from watchdog.importers import IMPORTERS
from watchdog.ledger import read_ledger
from watchdog.service import Service

CALM = noisy(2.2, 0.01, seed=1)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def nan_log(path: Path) -> Path:
    return write(
        path, [{"step": s, "loss": math.nan if s > 40 else CALM(0, s)} for s in range(1, 60)]
    )


def replayed(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, Any]]:
    assert main(["replay", "--json", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_lines_are_those_of_the_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = nan_log(tmp_path / "log.jsonl")
    event, last = replayed(capsys, path)
    assert set(event) == {"source", "step", "cause", "level", "action", "onset_step", "reason"}
    assert (event["cause"], event["level"], event["action"]) == (
        "nonfinite",
        "incident",
        "rollback",
    )
    assert (event["step"], event["onset_step"]) == (43, 41)
    assert last == {"summary": {"source": str(path), "records": 59, "incidents": 1, "suspects": 0}}


def test_spike_that_heals_is_told_as_suspect_and_recovered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"step": s, "loss": 5.0 if s == 80 else CALM(0, s)} for s in range(1, 120)]
    *events, last = replayed(capsys, write(tmp_path / "log", rows))
    assert [e["level"] for e in events] == ["suspect", "recovered"]
    assert {e["action"] for e in events} == {"continue"}
    assert last["summary"]["suspects"] == 1


def test_our_own_trace_gives_the_verdicts_of_the_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = WatchdogConfig.model_validate({"policy": {"lr_factor": 0.3}})
    run = Rig(lambda g, s: math.nan if g == 0 and s >= 45 else CALM(g, s), 70, config).play()
    service = Service(tmp_path, config, clock=lambda: 0.0)
    for record in run.records:
        service.exchange([record])
    service.close()
    (tmp_path / "job.yaml").write_text("watchdog: {policy: {lr_factor: 0.3}}\n")
    events = replayed(capsys, tmp_path / "trace.jsonl")
    verdicts = [x for x in read_ledger(tmp_path / "ledger.jsonl") if x["kind"] == "verdict"]
    incidents = [e for e in events[:-1] if e["level"] == "incident"]
    assert len(verdicts) == 1
    assert [(e["step"], e["action"], e["reason"]) for e in incidents] == [
        (v["step"], v["action"], v["reason"]) for v in verdicts
    ]
    assert "learning rate x 0.3" in incidents[0]["reason"]


def test_settings_can_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("watchdog: {detectors: {nonfinite: {enabled: false}}}\n")
    assert len(replayed(capsys, nan_log(tmp_path / "log"), "--config", job)) == 1


def test_gzipped_log_is_read_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = nan_log(tmp_path / "log.jsonl")
    packed = tmp_path / "log.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert replayed(capsys, packed)[-1]["summary"]["incidents"] == 1


def test_several_files_are_told_one_after_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = nan_log(tmp_path / "a"), write(tmp_path / "b", [{"step": 1, "loss": 1.0}])
    summaries = [x["summary"] for x in replayed(capsys, a, b) if "summary" in x]
    assert [(s["source"], s["incidents"]) for s in summaries] == [(str(a), 1), (str(b), 0)]


def test_half_written_last_line_is_tolerated_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = nan_log(tmp_path / "log")
    path.write_text(path.read_text() + '{"step": 60, "lo')
    assert main(["replay", "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["summary"]["records"] == 59
    assert "half-written" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "none of the known formats"),
        ("hello\n", "none of the known formats"),
        ('{"step": 1, "loss": 1}\nrubbish\n{"step": 2}\n', "line 2"),
        ('{"step": 1, "loss": "high"}\n', "loss='high'"),
        ('{"step": NaN, "loss": 1}\n', "the step nan"),
        ('{"step": 1, "loss": true}\n', "loss=True"),
    ],
)
def test_malformed_file_is_one_clear_error_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "log"
    path.write_text(content)
    assert main(["replay", "--json", str(path)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_broken_file_does_not_keep_the_others_from_being_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, whole = tmp_path / "broken", nan_log(tmp_path / "whole")
    broken.write_text('{"step": 1, "loss": "high"}\n')
    assert main(["replay", "--json", str(broken), str(whole)]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["summary"]["source"] == str(whole)
    assert err.startswith(f"error: line 1 of {broken} has loss='high'")


@pytest.mark.parametrize("name", sorted(made.TEXTS))
def test_nan_burst_is_an_incident_in_each_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / "log"
    path.write_text(made.TEXTS[name](made.losses(60, bad_from=41)))
    for arguments in ([], ["--format", name]):
        causes = [x["cause"] for x in replayed(capsys, path, *arguments)[:-1]]
        assert "nonfinite" in causes


def test_file_in_another_format_than_said_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = nan_log(tmp_path / "log")
    for name in set(IMPORTERS) - {"jsonl", "text"}:
        assert main(["replay", "--format", name, str(path)]) == 2
        assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(set(IMPORTERS) - {"hf"}))
def test_file_without_a_single_record_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert main(["replay", "--format", name, str(empty)]) == 2
    assert f"holds no record of the format {name}" in capsys.readouterr().err


def test_job_file_beside_a_foreign_log_is_somebody_elses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.yaml").write_text("watchdog: {image: alpine}\n")
    assert replayed(capsys, nan_log(tmp_path / "log"))[-1]["summary"]["incidents"] == 1


def test_missing_file_and_broken_gzip_are_clear_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path / "none")]) == 2
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b'{"step": 1}\n' * 1000)[:40])
    assert main(["replay", str(broken)]) == 2
    assert capsys.readouterr().err.count("error: cannot read") == 2


def test_table_for_people_has_a_row_for_each_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(nan_log(tmp_path / "log"))]) == 0
    out = capsys.readouterr().out
    assert "rollback" in out
    assert "59 records, 1 incident, 0 suspicions (format jsonl)" in out


def test_rows_without_a_step_are_numbered_on_and_a_step_back_is_a_resumed_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"loss": 1.0 + 0.01 * (i % 3)} for i in range(60)]
    again = [{"step": s, "loss": 1.0 + 0.01 * (s % 3)} for s in range(30, 100)]
    assert replayed(capsys, write(tmp_path / "log", [*rows, *again]))[:-1] == []
