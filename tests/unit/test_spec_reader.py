"""Claims about reading job files; the jobs are written into a folder of the test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jobs
from runner.spec_reader import dump_spec, known_jobs, read_resolved, read_spec
from watchdog.errors import SpecError
from watchdog.strict_yaml import dump_yaml

JOB = """\
name: tiny
train:
  max_steps: 50
  batch_size: 8
  lr: 1e-2
task:
  width: 3
variants:
  hot:
    train: {lr: 10}
    task: {shape: [4, 5]}
  empty:
"""
CONFIG = """\
from pydantic import Field
from runner.spec import Config as Section

class Inner(Section):
    depth: int = 1

class Config(Section):
    width: int = Field(8, ge=1)
    shape: tuple[int, ...] = (1, 2)
    inner: Inner = Inner()
"""

WriteJob = Callable[..., Path]


@pytest.fixture
def write_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriteJob]:
    """Return a function that writes jobs/<name>; `config=None` writes no config.py."""
    monkeypatch.setattr(jobs, "__path__", [str(tmp_path / "jobs")])
    known = set(sys.modules)

    def write(text: str = JOB, name: str = "tiny", config: str | None = CONFIG) -> Path:
        folder = tmp_path / "jobs" / name
        folder.mkdir(parents=True)
        (folder / "job.yaml").write_text(text, encoding="utf-8")
        if config is not None:
            (folder / "config.py").write_text(config, encoding="utf-8")
        return folder / "job.yaml"

    yield write
    for module in set(sys.modules) - known:
        if module.startswith("jobs."):
            del sys.modules[module]
            vars(jobs).pop(module.split(".")[1], None)


def refusal(*, job: str = "tiny", **options: Any) -> str:
    """Return the sentence with which reading is refused."""
    with pytest.raises(SpecError) as caught:
        read_spec(job, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_job_file_is_read_with_its_defaults(write_job: WriteJob) -> None:
    write_job()
    resolved = read_spec("tiny")
    assert resolved.spec.train.lr == 0.01
    assert resolved.spec.workers == 2
    assert resolved.spec.task == {"width": 3, "shape": [1, 2], "inner": {"depth": 1}}
    assert resolved.task_config.model_dump()["shape"] == (1, 2)


def test_later_layers_win(write_job: WriteJob) -> None:
    write_job()
    resolved = read_spec(
        "tiny",
        variant="hot",
        workers="1-4",
        drill="nan@step=3",
        overrides=["train.max_steps=7 task.inner.depth=2", "workers=3"],
    )
    assert resolved.spec.train.lr == 10
    assert resolved.spec.train.max_steps == 7
    assert resolved.spec.workers == 3
    assert resolved.spec.drill == "nan@step=3"
    assert resolved.spec.task == {"width": 3, "shape": [4, 5], "inner": {"depth": 2}}


def test_a_job_without_config_has_no_task_settings(write_job: WriteJob) -> None:
    write_job("train: {max_steps: 5, batch_size: 2, lr: 1}", config=None)
    assert read_spec("tiny").spec.task == {}
    assert "task.width is not a setting" in refusal(overrides=["task.width=1"])


def test_known_jobs_are_the_folders_with_a_job_file(write_job: WriteJob, tmp_path: Path) -> None:
    write_job()
    (tmp_path / "jobs" / "unfinished").mkdir()
    assert known_jobs() == ["tiny"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.max_stepz=3", "train.max_stepz is not a setting; did you mean train.max_steps?"),
        ("max_steps=3", "max_steps is not a setting; did you mean train.max_steps?"),
        ("task.widht=3", "task.widht is not a setting; did you mean task.width?"),
        ("task.inner.dept=3", "task.inner.dept is not a setting; did you mean task.inner.depth?"),
        ("task.depth=3", "task.depth is not a setting; did you mean task.inner.depth?"),
        ("task.inner.zzz=3", "task.inner.zzz is not a setting; task.inner has depth"),
        ("train.max_steps=abc", "train.max_steps='abc' is not possible; wanted a whole number"),
        ("train.max_steps=0", "train.max_steps=0 is not possible; wanted at least 1"),
        ("train.lr=fast", "train.lr='fast' is not possible; wanted a number"),
        ("train=null", "train=null is not possible; wanted a section (name: value)"),
        ("train.lr.x=1", "train.lr={...} is not possible; wanted a number"),
        ("workers=2.5", "workers=2.5 is not possible; wanted a whole number or text"),
        ("workers=4-1", "workers=4-1 is an empty range; write the smaller number first"),
        ("task.shape=3", "task.shape=3 is not possible; wanted a list"),
        ("task.shape=[1,x]", "task.shape[1]='x' is not possible; wanted a whole number"),
        (
            "train.schedule=linear",
            "wanted one of 'cosine', 'constant', 'halving' or 'reduce_on_plateau'",
        ),
        ("name=other", "name=other differs from the job's folder tiny"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(
    write_job: WriteJob, setting: str, said: str
) -> None:
    write_job()
    message = refusal(overrides=[setting])
    assert message.startswith(f"SET {setting}: ")
    assert said in message


def test_a_mistake_in_the_file_names_the_file(write_job: WriteJob) -> None:
    path = write_job(JOB.replace("max_steps: 50", "max_stepz: 50"))
    message = refusal()
    assert message.startswith(f"{path}: ")
    assert message.endswith("(and 1 more mistake)")


def test_a_mistake_in_a_variant_names_the_variant(write_job: WriteJob) -> None:
    write_job(JOB.replace("lr: 10", "lr: ten"))
    assert "variants.hot: train.lr='ten'" in refusal(variant="hot")


def test_a_missing_setting_is_named(write_job: WriteJob) -> None:
    write_job(JOB.replace("  max_steps: 50\n", ""))
    assert "train.max_steps is missing" in refusal()


def test_several_mistakes_are_counted(write_job: WriteJob) -> None:
    write_job()
    message = refusal(overrides=["train.max_steps=-1 train.lr=-1 watchdog.zz=1"])
    assert message.endswith("(and 2 more mistakes)")


def test_an_unknown_job_offers_the_nearest_and_the_list(write_job: WriteJob) -> None:
    write_job()
    write_job(name="other")
    message = refusal(job="tinny")
    assert "did you mean tiny?" in message
    assert "known: other, tiny" in message


@pytest.mark.parametrize("job", ["../tiny", "", "tiny/", "."])
def test_a_path_is_not_a_job(write_job: WriteJob, job: str) -> None:
    write_job()
    assert "is unknown" in refusal(job=job)


def test_an_unknown_variant_offers_the_nearest(write_job: WriteJob) -> None:
    write_job()
    assert "variant hott is unknown; did you mean hot? (known: empty, hot)" in refusal(
        variant="hott"
    )


def test_a_variant_without_settings_is_refused(write_job: WriteJob) -> None:
    write_job()
    assert "variants.empty is empty" in refusal(variant="empty")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty, not a list of settings"),
        ("- a", "is a list, not"),
        ("train: {a: 1, a: 2}", "line 1, column 15: key a is already on line 1"),
        ("a: [", "line 1, column 5"),
        ("a: &a [*a]", "contains itself"),
    ],
)
def test_a_broken_file_is_refused(write_job: WriteJob, text: str, said: str) -> None:
    write_job(text)
    assert said in refusal()


def test_a_file_that_is_not_text_is_refused(write_job: WriteJob) -> None:
    write_job().write_bytes(b"\xff\xfe\x00a")
    assert "cannot be read" in refusal()


def test_a_config_that_cannot_be_imported_is_refused(write_job: WriteJob) -> None:
    write_job(config="import no_such_library")
    assert "jobs.tiny.config: cannot be imported; No module named 'no_such_library'" in refusal()


def test_a_config_module_without_config_is_refused(write_job: WriteJob) -> None:
    write_job(config="x = 1")
    assert "has no pydantic model called Config" in refusal()


def test_the_data_folder_becomes_absolute(
    write_job: WriteJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_job()
    (tmp_path / "volumes").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_spec("tiny", data="volumes").spec.data.path == str(tmp_path / "volumes")


def test_a_missing_data_folder_is_refused(write_job: WriteJob, tmp_path: Path) -> None:
    path = write_job()
    assert "does not exist" in refusal(data=str(tmp_path / "nowhere"))
    assert "is a file, not a folder" in refusal(overrides=[f"data.path={path}"])


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lr=st.floats(min_value=1e-300, max_value=1e300),
    description=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))),
    drill=st.none() | st.sampled_from(["nan@step=4,rank=1;kill@step=8", "1e-3", "null"]),
    workers=st.sampled_from([0, 1, 3, "1-4", "2-2"]),
)
def test_a_resolved_file_reads_back_equal(
    write_job: WriteJob,
    tmp_path: Path,
    lr: float,
    description: str,
    drill: str | None,
    workers: int | str,
) -> None:
    if not known_jobs():
        write_job()
    path = tmp_path / "job.yaml"
    values = {
        "name": "tiny",
        "description": description,
        "workers": workers,
        "drill": drill,
        "train": {"max_steps": 5, "batch_size": 8, "lr": lr},
    }
    path.write_text(dump_yaml(values), encoding="utf-8")
    resolved = read_resolved(path)
    path.write_text(dump_spec(resolved.spec), encoding="utf-8")
    assert read_resolved(path) == resolved
    assert resolved.spec.description == description
    assert resolved.spec.train.lr == lr


def test_a_missing_resolved_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_resolved(tmp_path / "job.yaml")
