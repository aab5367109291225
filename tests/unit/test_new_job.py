"""A new job is a copy of an example under its own name, which runs at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobs
from runner.cli import main
from runner.new_job import EXAMPLES, new_job
from watchdog.errors import SpecError

SOURCE = Path(next(iter(jobs.__path__)))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of jobs that holds the examples alone."""
    for example in EXAMPLES:
        (tmp_path / example).mkdir()
        for path in (SOURCE / example).glob("*.*"):
            (tmp_path / example / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(jobs, "__path__", [str(tmp_path)])
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("jobs.my_")]:
        del sys.modules[name]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_copy_runs_at_once_and_keeps_no_name_of_the_example(
    root: Path, tmp_path_factory: pytest.TempPathFactory, example: str
) -> None:
    name = f"my_{example}s"
    folder = new_job(name, example)
    assert folder == root / name
    originals = {path.name for path in (root / example).iterdir()}
    assert {path.name for path in folder.iterdir()} == originals
    assert all(f"{example}." not in path.read_text() for path in folder.iterdir())
    runs = tmp_path_factory.mktemp("runs")
    small = "train.max_steps=4 train.warmup_steps=1 train.eval_every_steps=4 watchdog.port=0"
    options = ["--workers", "0", "--runs-dir", str(runs), "--run", "first", "--set", small]
    options += ["--no-preflight"]  # its process would look for the job in this checkout
    assert main(["submit", "--job", name, *options]) == 0
    assert (runs / "first" / "result.json").is_file()
    assert importlib.import_module(f"jobs.{name}.task").__file__ == str(folder / "task.py")


@pytest.mark.parametrize(
    "name", ["", "My_job", "9lives", "my-job", "a/b", "../up", "class", "x" * 41, "job\n"]
)
def test_a_name_that_cannot_be_a_folder_and_a_package_is_refused(root: Path, name: str) -> None:
    with pytest.raises(SpecError, match="is not possible"):
        new_job(name)
    assert sorted(path.name for path in root.iterdir()) == sorted(EXAMPLES)


def test_nothing_that_is_there_is_overwritten(root: Path) -> None:
    (root / "mine").mkdir()
    with pytest.raises(SpecError, match="is there already and is not overwritten"):
        new_job("mine")
    with pytest.raises(SpecError, match="is there already"):
        new_job("template")
    assert list((root / "mine").iterdir()) == []


def test_an_unknown_example_is_refused_with_the_known_ones(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-job", "mine", "--from", "nothing"]) == 2
    assert "known: template (a Task for the standard loop), plain_loop" in capsys.readouterr().err


def test_the_command_says_how_to_run_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-job", "mine"]) == 0
    assert "make submit JOB=mine" in capsys.readouterr().out


def test_the_template_is_a_page() -> None:
    assert len((SOURCE / "template" / "task.py").read_text().splitlines()) < 80
