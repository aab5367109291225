"""Claims about what the files of a run say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.driver_lock import driver_lock
from runner.run_status import count_ledger, latest_records, read_lines, read_status
from runner.runs import RunFolder

NOW_S = 1000.0


def line(kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "t_s": 900.0, "attempt": 0, "step": 0, **fields}


def step(number: int, *, rank: int = 0, loss: float | None = 1.0, generation: int = 0) -> Any:
    return line(
        "step", step=number, rank=rank, loss=loss, lr=0.1, generation=generation, t_s=900.0 + number
    )


def write(path: Path, lines: list[Any]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "one")
    folder.path.mkdir()
    folder.job_yaml.write_text("name: tiny\ntrain: {max_steps: 50}\n", encoding="utf-8")
    return folder


def test_a_new_folder_is_pending(run: RunFolder) -> None:
    status = read_status(run, t_s=NOW_S)
    assert (status.state, status.job, status.max_steps) == ("pending", "tiny", 50)
    assert (status.step, status.loss, status.age_s) == (None, None, None)


def test_a_run_is_running_while_it_is_driven_and_interrupted_after(run: RunFolder) -> None:
    write(run.ledger, [line("run_started")])
    with driver_lock(run, t_s=1.0):
        assert read_status(run, t_s=NOW_S).state == "running"
    assert read_status(run, t_s=NOW_S).state == "interrupted"


@pytest.mark.parametrize("state", ["finished", "stopped", "halted", "failed"])
def test_an_ended_run_has_the_state_and_reason_of_its_end(run: RunFolder, state: str) -> None:
    write(run.ledger, [line("run_started"), line("run_ended", state=state, step=9, reason="why")])
    status = read_status(run, t_s=NOW_S)
    assert (status.state, status.reason, status.step) == (state, "why", 9)


def test_a_run_taken_up_again_has_no_end(run: RunFolder) -> None:
    write(run.ledger, [line("run_started"), line("run_ended", state="halted"), line("run_started")])
    assert read_status(run, t_s=NOW_S).state == "interrupted"


def test_the_ledger_is_counted() -> None:
    counts = count_ledger(
        [
            line("incident_opened"),
            line("verdict", lr_scale=0.5, reason="first"),
            line("recovery_done", mechanism="in_place"),
            line("incident_opened"),
            line("verdict", lr_scale=0.25, reason="second"),
            line("recovery_done", mechanism="restart"),
        ]
    )
    assert (counts.incidents, counts.rollbacks, counts.restarts) == (2, 1, 1)
    assert (counts.lr_scale, counts.last_verdict_reason) == (0.25, "second")


def test_the_loss_is_the_mean_of_the_ranks_at_the_newest_step(run: RunFolder) -> None:
    write(run.trace, [step(1, loss=9.0), step(2, loss=1.0), step(2, rank=1, loss=2.0)])
    latest = latest_records(run.trace)
    assert (latest.step, latest.loss, latest.lr, latest.last_t_s) == (2, 1.5, 0.1, 902.0)


def test_after_a_rollback_the_step_is_the_newest_not_the_highest(run: RunFolder) -> None:
    write(run.trace, [step(7, loss=5.0), step(3, loss=1.0, generation=1)])
    assert (latest_records(run.trace).step, latest_records(run.trace).loss) == (3, 1.0)


def test_a_loss_that_is_not_finite_is_unknown(run: RunFolder) -> None:
    write(run.trace, [step(1, loss=float("nan")), line("eval", val_metric=float("inf"))])
    latest = latest_records(run.trace)
    assert (latest.step, latest.loss, latest.val_metric) == (1, None, None)


def test_torn_lines_are_passed_over(run: RunFolder) -> None:
    write(run.trace, [step(1)])
    with run.trace.open("ab") as file:
        file.write(b'null\n{"kind": "step", "step": 2, \n\xff\xfe\n{"kind": "st')
    assert latest_records(run.trace).step == 1


def test_only_the_tail_of_a_long_trace_is_read(run: RunFolder) -> None:
    steps = [step(number) for number in range(1, 60_000)]
    write(run.trace, [line("eval", val_metric=0.1), *steps])
    assert run.trace.stat().st_size > 6_000_000
    latest = latest_records(run.trace)
    assert latest.step == 59_999
    assert latest.val_metric is None
    assert len(read_lines(run.trace, tail_bytes=1000)) < 10


def test_more_of_the_tail_is_read_until_a_validation_is_found(run: RunFolder) -> None:
    steps = [step(number) for number in range(1, 5_000)]
    write(run.trace, [line("eval", val_metric=0.75), *steps])
    assert run.trace.stat().st_size > 300_000
    assert latest_records(run.trace).val_metric == 0.75


def test_the_age_is_that_of_the_newest_line(run: RunFolder) -> None:
    write(run.ledger, [line("run_started", t_s=990.0)])
    write(run.trace, [step(1)])
    assert read_status(run, t_s=NOW_S).age_s == 10.0


def test_a_broken_job_file_does_not_hide_the_run(run: RunFolder) -> None:
    run.job_yaml.write_text("a: [", encoding="utf-8")
    assert read_status(run, t_s=NOW_S).job is None
