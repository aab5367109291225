"""Claims about the logs of a run and the ledger in plain words."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from runner.driver_lock import driver_lock
from runner.ledger_words import clock_time, ledger_sentence
from runner.run_logs import log_lines
from runner.runs import RunFolder
from runner.tail import LineTail
from watchdog.records import LedgerKind


def never(_: float) -> None:
    raise AssertionError("waited although nobody drives the run")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def append(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_line_is_shown_once_and_only_when_it_is_complete(tmp_path: Path) -> None:
    tail = LineTail(tmp_path / "log")
    assert tail.new_lines() == []
    append(tail.path, "one\ntw")
    assert tail.new_lines() == ["one"]
    append(tail.path, "o\n")
    assert tail.new_lines() == ["two"]
    assert tail.new_lines() == []


def test_every_source_is_shown_with_its_name(run: RunFolder) -> None:
    append(run.driver_log, "hello\n")
    append(run.logs / "rank1.log", "world\n")
    append(run.ledger, json.dumps({"kind": "verdict", "action": "rollback", "reason": "spike"}))
    append(run.ledger, "\nnot json\n")
    lines = list(log_lines(run, is_following=True, sleep=never))
    assert [" ".join(line.split()) for line in lines] == [
        "driver | hello",
        "rank1 | world",
        "ledger | verdict rollback: spike",
        "ledger | not json",
    ]


def test_following_ends_after_the_last_line_of_the_driver(run: RunFolder) -> None:
    with ExitStack() as driver:
        driver.enter_context(driver_lock(run, t_s=1.0))

        def last_words(_: float) -> None:
            append(run.driver_log, "last\n")
            driver.close()

        append(run.driver_log, "first\n")
        lines = list(log_lines(run, is_following=True, sleep=last_words))
    assert [line.split("| ")[1] for line in lines] == ["first", "last"]


@pytest.mark.parametrize("kind", list(LedgerKind))
def test_every_kind_of_ledger_line_has_a_sentence_even_without_its_fields(kind: LedgerKind) -> None:
    sentence = ledger_sentence({"kind": kind, "step": 3, "attempt": 1})
    assert sentence
    assert not sentence.endswith((":", " "))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            {
                "kind": "recovery_done",
                "mechanism": "in_place",
                "restored_step": 32,
                "from": "memory",
            }
            | {"seconds": 0.0412, "steps_lost": 8},
            "recovered (in_place) to step 32 from memory in 0.0412 s, 8 steps lost",
        ),
        (
            {"kind": "recovery_done", "mechanism": "restart", "tier": "regroup", "seconds": 0.04}
            | {"restored_step": 32, "from": "memory", "steps_lost": 3},
            "recovered (regroup) to step 32 from memory in 0.04 s, 3 steps lost",
        ),
        (
            {"kind": "run_ended", "state": "finished", "step": 50, "reason": ""},
            "run finished at step 50",
        ),
        ({"kind": "unheard_of", "step": 4}, "unheard_of at step 4"),
    ],
)
def test_a_ledger_line_reads_as_a_sentence(line: dict[str, Any], sentence: str) -> None:
    assert ledger_sentence(line) == sentence


@pytest.mark.parametrize(("t_s", "text"), [(0.0, "1970-01-01 00:00:00"), (None, " " * 19)])
def test_times_are_shown_in_utc(t_s: float | None, text: str) -> None:
    show: Callable[[Any], str] = clock_time
    assert show(t_s) == text
