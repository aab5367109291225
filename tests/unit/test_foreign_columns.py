from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from watchdog.errors import TraceError
from watchdog.foreign import Row, records_of
from watchdog.foreign_logs.columns import rows_of
from watchdog.foreign_logs.entry import Entry
from watchdog.records import AttemptStarted, EvalReport, StepReport


def rows(values: Iterable[Mapping[str, object]]) -> list[Row]:
    entries = [Entry(number, found) for number, found in enumerate(values, start=1)]
    return list(rows_of(Path("log"), entries))


def test_name_logged_hardly_ever_does_not_count() -> None:
    log = [{"train_loss": 1.9, "val_loss": 2.0}] + [{"loss": 2.0 + n} for n in range(9)]
    assert [row.loss for row in rows(log)] == [None, *(2.0 + n for n in range(9))]


def test_what_is_logged_late_is_chosen_when_it_comes() -> None:
    log: list[dict[str, float]] = [{"loss": 2.0}] * 300 + [{"val_loss": 1.5}] * 2
    assert [row.val_loss for row in rows(log)][-3:] == [None, 1.5, 1.5]


def test_choice_is_never_taken_back() -> None:
    log: list[dict[str, float]] = [{"train_loss": 2.0}] * 300 + [{"loss": 9.0}] * 300
    assert {row.loss for row in rows(log)} == {2.0, None}


def test_terms_are_summed_only_where_no_whole_loss_is_logged() -> None:
    terms = {"loss_cls": 1.0, "loss_box": 0.5}
    assert rows([terms])[0].loss == 1.5
    assert rows([{**terms, "total_loss": 7.0}])[0].loss == 7.0


def test_sum_with_a_term_missing_is_unknown() -> None:
    terms = {"loss_cls": 1.0, "loss_box": 0.5}
    assert [row.loss for row in rows([terms, terms, {"loss_cls": 1.0}])] == [1.5, 1.5, None]


def test_epochs_are_the_steps_of_a_log_without_steps() -> None:
    log = [{"epoch": n, "loss": 2.0} for n in (3, 4, 5, 4, 5, 6)]
    assert [row.step for row in rows(log)] == [3, 4, 5, 4, 5, 6]


@pytest.mark.parametrize("epochs", [[1, 1, 2, 2], [0.1, 0.2, 0.3, 0.4]])
def test_several_entries_an_epoch_are_numbered_on(epochs: list[float]) -> None:
    assert [row.step for row in rows([{"epoch": e, "loss": 2.0} for e in epochs])] == [None] * 4


def test_steps_counted_anew_in_each_epoch_go_on() -> None:
    log = [{"epoch": e, "batch": b, "loss": 2.0} for e in (0, 1, 2) for b in (0, 50, 100)]
    assert [row.step for row in rows(log)] == [0, 50, 100, 100, 150, 200, 200, 250, 300]


def test_resumed_run_counts_on_from_the_epoch_it_goes_back_to() -> None:
    places = ((0, 0), (0, 50), (1, 0), (1, 50), (2, 0), (2, 50), (1, 50), (2, 0))
    log = [{"epoch": e, "batch": b, "loss": 2.0} for e, b in places]
    assert [row.step for row in rows(log)] == [0, 50, 50, 100, 100, 150, 100, 100]


def test_step_that_is_the_same_in_every_epoch_is_ignored() -> None:
    log = [{"epoch": e, "step": 938, "epoch_steps": 938, "loss": 2.0} for e in (1, 2, 3)]
    assert [row.step for row in rows(log)] == [1, 2, 3]


def test_resumed_run_keeps_the_steps_it_says() -> None:
    log = [{"epoch": e, "step": s, "loss": 2.0} for e, s in ((1, 10), (2, 20), (3, 30), (2, 20))]
    assert [row.step for row in rows(log)] == [10, 20, 30, 20]


def test_metric_that_is_better_when_lower_is_negated() -> None:
    assert rows([{"eval_wer": 0.25}])[0].val_metric == -0.25


@pytest.mark.parametrize("step", [float("nan"), float("inf"), -1e300, 2**60])
def test_step_that_cannot_be_is_an_error(step: float) -> None:
    with pytest.raises(TraceError, match="line 2 of log has the step"):
        rows([{"step": 1, "loss": 2.0}, {"step": step, "loss": 2.0}])


def test_error_names_the_value_in_short() -> None:
    with pytest.raises(TraceError) as caught:
        rows([{"loss": "x" * 10_000}])
    assert len(str(caught.value)) < 300


def test_validation_without_a_step_stands_at_the_step_before_it() -> None:
    log = [Row(loss=1.0), Row(loss=1.0), Row(val_loss=2.0), Row(val_loss=2.0), Row(loss=1.0)]
    found = [r for r in records_of("log", log) if isinstance(r, StepReport | EvalReport)]
    assert [(r.kind, r.step) for r in found] == [
        ("step", 0),
        ("step", 1),
        ("eval", 1),
        ("eval", 2),
        ("step", 3),
    ]


def test_duplicated_step_is_no_new_attempt_and_one_that_goes_back_is() -> None:
    log = [Row(step=s, loss=1.0) for s in (1, 2, 2, 3, 2)]
    starts = [r for r in records_of("log", log) if isinstance(r, AttemptStarted)]
    assert [(s.attempt, s.restored_step) for s in starts] == [(0, 0), (1, 1)]


def test_negative_step_is_the_first() -> None:
    (report,) = (r for r in records_of("log", [Row(step=-3, loss=1.0)]) if r.kind == "step")
    assert isinstance(report, StepReport)
    assert report.step == 0
