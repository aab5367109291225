"""Names of runs: one plain component of a path, on this machine and on a cluster."""

from __future__ import annotations

import os
import re
import tempfile
from argparse import Namespace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.remote_run import name_of, runs_dir_there
from runner.runs import check_name, create_run, find_run, new_run_name
from watchdog.actor import actor_name
from watchdog.errors import BadInput, SpecError

HOSTILE = st.lists(st.sampled_from(["..", "/", ".", "a", "-", "~", "\n", "\0", " ", "é", "$(x)"]))
NAMES = st.text() | HOSTILE.map("".join) | st.from_regex(r"[A-Za-z0-9._-]{1,90}", fullmatch=True)


def is_possible(name: str) -> bool:
    try:
        check_name(name)
    except SpecError:
        return False
    return True


@given(NAMES)
def test_a_name_that_is_possible_is_one_folder_below_the_runs_folder(name: str) -> None:
    if is_possible(name):
        path = os.path.normpath(f"/runs/{name}")
        assert path == f"/runs/{name}"
        assert os.path.dirname(path) == "/runs"  # noqa: PTH120  what normpath made, not a Path
        assert not name.startswith((".", "-"))
        assert re.fullmatch(r"[\x21-\x7e]{1,80}", name)
        assert "~" not in name, "which tells a run's later jobs from runs"


@given(NAMES)
def test_no_name_makes_or_finds_anything_outside_of_the_runs_folder(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        before = set(Path(folder).rglob("*"))
        try:
            made = create_run(runs, "template", name, t_s=0.0)
        except BadInput:
            assert not is_possible(name)
            assert set(Path(folder).rglob("*")) == before
        else:
            assert made.path.parent == runs
            with pytest.raises(SpecError, match="exists already"):
                create_run(runs, "template", name, t_s=0.0)
        with pytest.raises(BadInput):
            find_run(runs, f"../{name}")


@given(st.text())
def test_a_question_to_a_cluster_names_a_run_that_can_be(name: str) -> None:
    args = Namespace(run=None, run_option=name)
    if is_possible(name):
        assert name_of(args) == name
    else:
        with pytest.raises(SpecError, match="is not possible"):
            name_of(args)


def test_a_name_that_is_made_up_is_possible_and_not_made_up_again() -> None:
    names = {new_run_name("a" * 40, t_s=0.0) for _ in range(50)}
    assert len(names) > 45
    assert all(map(is_possible, names))


def test_equal_names_in_two_folders_have_two_watchdogs(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert actor_name("one", "/a/one") != actor_name("one", "/b/one")
    assert actor_name("one", "/a/one") != actor_name("two", "/a/one")
    link = actor_name("one", str(tmp_path / "link" / "one"))
    assert link == actor_name("one", str(tmp_path / "a" / "one")), "one folder by two paths"


@pytest.mark.parametrize(
    ("given_dir", "there"),
    [("runs", "~/runs"), ("team/runs", "~/team/runs"), ("/shared/runs", "/shared/runs")],
)
def test_a_relative_runs_folder_is_in_the_home_there(given_dir: str, there: str) -> None:
    assert runs_dir_there(Path(given_dir)) == there
