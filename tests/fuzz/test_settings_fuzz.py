"""Job files, overrides, drills and names, damaged: a sentence each time, and nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.drill_grammar import check_drill, parse_drill
from runner.overrides import read_assignments
from runner.runs import check_run_name, create_run, find_run
from runner.spec_reader import dump_spec, read_resolved, read_spec
from tests.fuzz.mangled import edits, fuzzed, mangle
from watchdog.config_file import read_config
from watchdog.errors import BadInput, SpecError, WatchkeeperError
from watchdog.strict_yaml import load_yaml

JOB = (Path(__file__).parents[2] / "jobs" / "vesuvius" / "job.yaml").read_bytes()
RESOLVED = dump_spec(read_spec("template").spec).encode()

#: Pieces of the grammars, so that the generated texts come far.
_WORDS = st.sampled_from(
    ["train", "max_steps", "task", ".", "=", "1", "1e-3", "[", "]", "{a: 1}", '"', "'", " ", "null",
     "nan", "kill", "@", "step", "rank", "count", "times", "sample", "during", "factor", ",", ";",
     "-1", "0", "9" * 5000, "1e400", "\0", "\ud800", "é", "²", "_", "checkpoints.path", "data.path",
     "workers", "name", "../x", "&a", "*a", "<<", "!!python/name:os.system", "drill", "&a [*a]"]
)  # fmt: skip
_ODD_NAMES = (".", "..", "a/b", "/etc", "a\0b", "x" * 300, "a\n", "-", "~", "")
texts = st.one_of(st.lists(_WORDS, max_size=12).map("".join), st.text(max_size=40))


@fuzzed
@given(edits)
def test_a_damaged_job_file_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[float, int, bytes]]
) -> None:
    path = tmp_path / "job.yaml"
    for good in (JOB, RESOLVED):
        path.write_bytes(mangle(good, changes))
        for read in (read_resolved, read_config):
            with contextlib.suppress(SpecError):
                read(path)


@fuzzed
@given(texts)
@example("a: &a [*a]")
@example("[" * 3000)
@example("? [a, b]\n: 1")
@example("2001-99-99")
@example("1" * 10000)
def test_any_yaml_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        load_yaml(text, "job.yaml")


@fuzzed
@given(texts)
@example("train.max_steps=" + "9" * 5000)
@example("task.noise=1e400")
@example("a" + ".a" * 2000 + "=1")
@example("train=" + "{a: " * 500 + "}" * 500)
def test_any_override_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        read_assignments(text)
    with contextlib.suppress(SpecError):
        read_spec("template", overrides=[text])


@fuzzed
@given(texts)
@example("9" * 5000)
@example("1-" + "9" * 5000)
@example("٣")
def test_any_number_of_workers_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        read_spec("template", workers=text)


@fuzzed
@given(texts)
@example("nan@step=" + "9" * 5000)
@example("lr@step=1,factor=1e-400")
@example("kill@step=1,rank=" + "9" * 400)
def test_any_drill_is_taken_or_refused(text: str) -> None:
    with contextlib.suppress(SpecError):
        check_drill(parse_drill(text), workers=(2, 2), max_steps=100, is_on_cluster=False)


@fuzzed
@given(
    st.one_of(
        texts, st.sampled_from([".", "..", "a/b", "/etc", "a\0b", "x" * 300, "a\n", "-", "~", ""])
    )
)
def test_no_name_of_a_run_leaves_the_folder_of_runs(tmp_path: Path, name: str) -> None:
    runs = tmp_path / "runs"
    with contextlib.suppress(BadInput):
        check_run_name(runs, name)
        run = create_run(runs, "template", name, t_s=0.0)
        assert run.path.parent == runs.absolute()
        run.path.rmdir()
    with pytest.raises(BadInput):
        find_run(runs, name)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "runs"] == []


@fuzzed
@given(
    st.one_of(
        texts,
        st.sampled_from(
            ["..", "../tests", "shared", "os", "a.b", "__init__", "\uff54\uff45\uff4dplate"]
        ),
    )
)
@example("x" * 300)
def test_no_name_of_a_job_reaches_other_code(name: str) -> None:
    with pytest.raises(WatchkeeperError):
        read_spec(name)
