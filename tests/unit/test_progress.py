"""Claims about what the person who follows a run sees."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from rich.console import Console

from runner.progress import Mode, Progress, progress_for
from runner.step_rate import StepRate
from watchdog.records import Cause
from watchdog.snapshot import Snapshot


def view(step: int, t_s: float, **fields: Any) -> Snapshot:
    values = {"job": "tiny", "state": "running", "max_steps": 100, "loss": 0.5, "lr": 0.001}
    return Snapshot(step=step, last_record_t_s=t_s, last_step_t_s=t_s, **{**values, **fields})


def progress(mode: Mode, width: int = 160) -> tuple[Progress, io.StringIO]:
    out = io.StringIO()
    is_live = mode == "live"
    console = Console(file=out, force_terminal=is_live, width=width, color_system=None)
    return Progress(console, mode), out


def test_the_rate_is_measured_over_the_last_half_minute() -> None:
    rate = StepRate()
    for t_s in range(0, 100, 10):
        rate.add(float(t_s), t_s // 10)
    rate.add(100.0, 40)
    assert rate.steps_per_s == pytest.approx((40 - 7) / 30)


def test_one_point_has_no_rate() -> None:
    rate = StepRate()
    rate.add(1.0, 1)
    assert rate.steps_per_s is None


def test_a_rollback_starts_the_rate_anew() -> None:
    rate = StepRate()
    for t_s, step in ((0.0, 10), (1.0, 20), (2.0, 12)):
        rate.add(t_s, step)
    assert rate.steps_per_s is None
    rate.add(4.0, 16)
    assert rate.steps_per_s == 2.0


def test_plain_lines_come_every_ten_seconds_and_at_each_new_state() -> None:
    show, out = progress("plain")
    for t_s in range(25):
        show.update(view(t_s + 1, float(t_s)))
    show.update(view(25, 24.5, state="recovering"))
    show.close()
    lines = out.getvalue().splitlines()
    assert [line.split(", ")[2] for line in lines] == [
        "step 1/100",
        "step 11/100",
        "step 21/100",
        "step 25/100",
    ]
    assert lines[1] == "tiny, running, step 11/100, loss 0.5, lr 0.001, 1 step/s, ETA 1 min 29 s"


def test_incidents_attempts_and_metrics_are_shown_once_there_are_any() -> None:
    show, out = progress("plain")
    show.update(
        view(
            3,
            1.0,
            attempt=2,
            val_metric=0.75,
            incidents={Cause.SPIKE: 1, Cause.CRASH: 2},
            open_incident="one/spike/3",
            loss_is_finite=False,
        )
    )
    assert out.getvalue() == (
        "tiny, running, step 3/100, loss not finite, lr 0.001, metric 0.75, attempt 2, "
        "incidents 3, open: one/spike/3\n"
    )


def test_sentences_are_printed_as_they_come_and_never_as_markup() -> None:
    show, out = progress("plain", width=20)
    show.say("no report from ranks [3, 5] for 312 s [bold]likely a hung collective[/bold]")
    assert out.getvalue() == (
        "no report from ranks [3, 5] for 312 s [bold]likely a hung collective[/bold]\n"
    )


def test_the_live_bar_shows_the_run_and_sentences_stand_above_it() -> None:
    show, out = progress("live")
    threads = threading.active_count()
    show.update(view(50, 1.0))
    show.say("verdict rollback: spike")
    show.update(view(60, 2.0))
    assert threading.active_count() == threads
    show.close()
    show.close()
    text = out.getvalue()
    assert "step 60/100, loss 0.5" in text
    assert "10 step/s, ETA 4 s" in text
    assert text.index("verdict rollback: spike") < text.index("step 60/100")


def test_a_snapshot_of_nothing_can_be_shown() -> None:
    show, out = progress("live")
    show.update(Snapshot())
    show.close()
    assert "step 0/0" in out.getvalue()


def test_silent_prints_nothing() -> None:
    show, out = progress("silent")
    show.update(view(1, 1.0))
    show.say("hello")
    show.close()
    assert out.getvalue() == ""


def test_the_output_decides_how_progress_is_shown() -> None:
    out = io.StringIO()
    progress_for(Console(file=out), is_silent=True).say("unheard")
    progress_for(Console(file=out), is_silent=False).say("heard")
    assert out.getvalue() == "heard\n"
