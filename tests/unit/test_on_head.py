"""What a cluster's head is asked: kept drivers, framed answers, a run's files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import ray

from runner import keeper
from runner.answer import answer
from runner.cli import main
from runner.frames import Decoder, Kind
from runner.run_logs import Doubled
from runner.runs import RunFolder
from runner.spec_reader import dump_spec, read_spec


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.path.mkdir(parents=True)
    folder.job_yaml.write_text(dump_spec(read_spec("template").spec), encoding="utf-8")
    return folder


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Sequence[str]]]:
    """Return the pairs of commands that were to be kept; none is run."""
    pairs: list[tuple[Sequence[str], Sequence[str]]] = []

    def keep(first: Sequence[str], again: Sequence[str]) -> int:
        pairs.append((first, again))
        return 7

    monkeypatch.setattr(keeper, "keep", keep)
    return pairs


def test_a_kept_submit_is_followed_by_a_resume_of_the_same_run(
    kept: list[tuple[Sequence[str], Sequence[str]]],
) -> None:
    given = ["--job", "template", "--run", "one", "--runs-dir", "/shared/runs"]
    assert main(["keep", *given]) == 7
    [(first, again)] = kept
    assert first == ["submit", *given, "--kept"]
    assert again == ["resume", "one", "--runs-dir", "/shared/runs", "--kept"]


def test_a_run_that_is_resumed_is_kept_too(
    run: RunFolder, kept: list[tuple[Sequence[str], Sequence[str]]]
) -> None:
    assert main(["keep-resumed", "one", "--runs-dir", str(run.path.parent)]) == 7
    [(first, again)] = kept
    assert first == again == ["resume", "one", "--runs-dir", str(run.path.parent), "--kept"]


def answered(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> dict[Kind, str]:
    """Return what a question is answered with, by kind."""
    assert main(["answer", *argv]) == 0
    said = dict.fromkeys(Kind, "")
    for frame in Decoder().feed(capsys.readouterr().out):
        said[frame.kind] += frame.text
    return said


def test_an_answer_is_what_the_command_says(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--runs-dir", str(run.path.parent)]
    said = answered(["status", "one", "--json", *where], capsys)
    assert json.loads(said[Kind.OUT])["state"] == "pending"
    assert (said[Kind.ERR], said[Kind.EXIT]) == ("", "0")
    said = answered(["status", "nobody", *where], capsys)
    assert said[Kind.ERR].startswith("error: run nobody is not in ")
    assert (said[Kind.OUT], said[Kind.EXIT]) == ("", "2")
    said = answered(["status", "--no-such-option"], capsys)
    assert "unrecognized arguments" in said[Kind.ERR] or "required" in said[Kind.ERR]
    assert said[Kind.EXIT] == "2"


def test_an_answer_can_be_a_run_s_files(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    said = answered(["send", "one", "--runs-dir", str(run.path.parent)], capsys)
    pieces = [json.loads(line) for line in said[Kind.OUT].splitlines()]
    assert [piece.get("file") for piece in pieces] == ["job.yaml", None]


def test_what_a_kept_driver_shows_is_in_the_log_of_the_run(tmp_path: Path) -> None:
    shown = io.StringIO()
    log = tmp_path / "driver.log"
    log.write_text("before\n")
    both = Doubled(shown, log)
    print("step 1", file=both)
    assert shown.getvalue() == "step 1\n"
    assert log.read_text() == "before\nstep 1\n"


def test_a_job_is_started_with_the_python_whose_ray_runs_above_it(tmp_path: Path) -> None:
    """This process has Ray's library, as a job's supervisor has; the PATH has another Python."""
    assert ray.__version__
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    root = Path(keeper.__file__).parents[1]
    done = subprocess.run(
        ["sh", "runner/on_head.sh", "answer", "list", "--runs-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )
    assert [frame.text for frame in Decoder().feed(done.stdout)][-1] == "0"


def test_an_answer_keeps_the_output_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    out = sys.stdout
    assert answer([], lambda argv: 0) == 0
    assert sys.stdout is out
