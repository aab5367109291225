"""Claims about the command line: what it prints, what it returns, what it never writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.cli import build_parser, main
from runner.driver_lock import driver_lock
from runner.remote_run import cluster_options
from runner.runs import RunFolder
from runner.spec_reader import dump_spec, read_spec
from watchdog.discovery import list_run, sd_file


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(runs_dir: Path) -> RunFolder:
    """Return the folder of a run that ended at step 9."""
    folder = RunFolder(runs_dir / "one")
    folder.path.mkdir(parents=True)
    folder.job_yaml.write_text(dump_spec(read_spec("template").spec), encoding="utf-8")
    lines: list[dict[str, Any]] = [
        {"kind": "run_started", "t_s": 1.0, "attempt": 0, "step": 0, "job": "template"},
        {"kind": "run_ended", "t_s": 2.0, "attempt": 0, "step": 9, "state": "finished"},
    ]
    folder.ledger.write_text("".join(json.dumps(entry) + "\n" for entry in lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--job", "no_such_job"], "job no_such_job is unknown"),
        (["--job", "template", "--set", "train.lr=fast"], "SET train.lr=fast: train.lr='fast'"),
        (["--job", "template", "--workers", "9-1"], "workers=9-1 is an empty range"),
        (["--job", "template", "--variant", "none"], "variant none is unknown"),
        (["--job", "template", "--data", "/no/such/folder"], "/no/such/folder does not exist"),
        (["--job", "template", "--drill", "explode@step=1"], "unknown fault 'explode'"),
        (["--job", "template", "--run", "../up"], "run name '../up' is not possible"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    runs_dir: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["submit", *options, "--runs-dir", str(runs_dir)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert not runs_dir.exists()


@pytest.mark.parametrize("command", ["status", "stop", "logs", "report", "resume"])
def test_an_unknown_run_is_bad_input(
    runs_dir: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "nobody", "--runs-dir", str(runs_dir)]) == 2
    assert capsys.readouterr().err.startswith("error: run nobody is not in ")
    assert not runs_dir.exists()


@pytest.mark.parametrize(
    "argv", [[], ["fly"], ["submit"], ["status"], ["submit", "--job", "x", "--follow", "2"]]
)
def test_unusable_options_are_bad_input(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_status_and_list_are_one_json_document(
    run: RunFolder, runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--run", "one", "--runs-dir", str(runs_dir), "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["run"], status["state"], status["step"]) == ("one", "finished", 9)
    assert main(["list", "--runs-dir", str(runs_dir), "--json"]) == 0
    assert [row["run"] for row in json.loads(capsys.readouterr().out)] == ["one"]


def test_status_and_list_are_tables_for_people(
    run: RunFolder, runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--runs-dir", str(runs_dir)]) == 0
    assert "9/300" in capsys.readouterr().out
    assert main(["status", "one", "--runs-dir", str(runs_dir)]) == 0
    assert "finished" in capsys.readouterr().out


def test_without_runs_the_list_says_how_to_start_one(
    runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--runs-dir", str(runs_dir)]) == 0
    assert "make submit JOB=vesuvius" in capsys.readouterr().out
    assert main(["list", "--runs-dir", str(runs_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_finished_run_is_not_resumed(
    run: RunFolder, runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["resume", "one", "--runs-dir", str(runs_dir)]) == 0
    assert "has finished at step 9" in capsys.readouterr().out
    assert main(["resume", "one", "--runs-dir", str(runs_dir), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["state"]) == (0, "finished")


def test_a_driven_run_is_not_resumed(
    run: RunFolder, runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with driver_lock(run, t_s=1.0):
        assert main(["resume", "one", "--runs-dir", str(runs_dir)]) == 2
    assert "is driven by process" in capsys.readouterr().err


def test_stop_leaves_a_run_alone_that_nobody_drives(
    run: RunFolder, runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stop", "one", "--runs-dir", str(runs_dir)]) == 0
    assert "not driven by anyone; its state is finished" in capsys.readouterr().out
    assert not run.stop_file.exists()


def test_stop_takes_a_run_that_was_killed_off_the_list_of_prometheus(
    run: RunFolder, runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    list_run(run.path, "127.0.0.1", 9465, "127.0.0.1")
    for _ in range(2):
        assert main(["stop", "one", "--runs-dir", str(runs_dir)]) == 0
    assert capsys.readouterr().out.count("Prometheus misses it no longer") == 1
    assert not sd_file(run.path).exists()


def test_stop_says_when_the_driver_does_not_let_go(
    run: RunFolder, runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with driver_lock(run, t_s=1.0):
        assert main(["stop", "one", "--runs-dir", str(runs_dir), "--timeout", "0"]) == 1
    assert "after 0 s" in capsys.readouterr().err
    assert run.stop_file.exists()


def test_logs_are_the_ledger_in_plain_words(
    run: RunFolder, runs_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", "one", "--runs-dir", str(runs_dir)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("run finished at step 9")


def test_settings_may_be_given_more_than_once() -> None:
    args = build_parser().parse_args(["submit", "--job", "x", "--set", "a=1", "--set", "b=2 c=3"])
    assert args.overrides == ["a=1", "b=2 c=3"]


def test_reading_commands_import_neither_ray_nor_torch() -> None:
    code = "import sys, runner.cli; sys.exit(bool({'ray', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_cluster_is_given_the_options_of_this_shell_and_the_name_of_the_run() -> None:
    given = ["--job", "x", "--drill", "nan@step=4;kill@step=8", "--set", "a=1 b=2", "--follow", "0"]
    args = build_parser().parse_args(["submit", *given, "--address", "http://head:8265", "--json"])
    assert cluster_options(args, "one") == [
        "--job", "x", "--set", "a=1 b=2", "--drill", "nan@step=4;kill@step=8",
        "--run", "one", "--runs-dir", "~/runs",
    ]  # fmt: skip
