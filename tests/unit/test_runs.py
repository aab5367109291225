"""Claims about run folders."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from runner.runs import RunFolder, create_run, find_run, list_runs
from watchdog.errors import RunNotFound, SpecError

NOON_S = 1_800_000_000.0


def make_run(runs_dir: Path, name: str, age_s: int = 0) -> RunFolder:
    run = create_run(runs_dir, "tiny", name, t_s=NOON_S)
    run.job_yaml.write_text("name: tiny\n", encoding="utf-8")
    os.utime(run.job_yaml, (NOON_S - age_s, NOON_S - age_s))
    return run


def test_a_run_without_a_name_is_called_by_job_date_and_time(tmp_path: Path) -> None:
    run = create_run(tmp_path / "runs", "tiny", None, t_s=NOON_S)
    assert re.fullmatch(r"tiny-20270115-080000-[0-9a-f]{4}", run.run_id)
    assert run.path.is_dir()
    assert run.path.is_absolute()


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "", ".hidden", "-x", "a b", "a" * 81, "a\n"])
def test_an_impossible_name_is_refused_before_anything_is_written(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(SpecError, match="is not possible"):
        create_run(tmp_path / "runs", "tiny", name, t_s=NOON_S)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_refused_and_resume_named(tmp_path: Path) -> None:
    make_run(tmp_path, "first")
    with pytest.raises(SpecError, match="make resume RUN=first"):
        create_run(tmp_path, "tiny", "first", t_s=NOON_S)


def test_a_runs_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SpecError, match="--runs-dir"):
        create_run(tmp_path / "file" / "runs", "tiny", "x", t_s=NOON_S)


def test_a_run_is_found_by_its_name(tmp_path: Path) -> None:
    assert find_run(tmp_path, make_run(tmp_path, "first").run_id).path == tmp_path / "first"


def test_an_unknown_run_offers_the_nearest_and_the_latest(tmp_path: Path) -> None:
    for age_s, name in enumerate(["one", "two", "three", "four", "five", "six"]):
        make_run(tmp_path, name, age_s)
    with pytest.raises(RunNotFound) as caught:
        find_run(tmp_path, "thre")
    assert "did you mean three?" in str(caught.value)
    assert str(caught.value).endswith("(latest: one, two, three, four, five)")


def test_a_path_is_not_the_name_of_a_run(tmp_path: Path) -> None:
    make_run(tmp_path, "first")
    with pytest.raises(RunNotFound):
        find_run(tmp_path / "first", "..")


def test_runs_are_listed_latest_first_and_other_folders_left_out(tmp_path: Path) -> None:
    make_run(tmp_path, "old", age_s=10)
    make_run(tmp_path, "new")
    (tmp_path / "notes").mkdir()
    assert [run.run_id for run in list_runs(tmp_path)] == ["new", "old"]


def test_without_a_runs_folder_there_are_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "runs") == []
