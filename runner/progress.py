"""What the person who follows a run sees: a live bar, plain lines in a CI log, or nothing.

Time is taken from the snapshots (the watchdog's newest record), so that this needs neither a clock
nor a thread; `rich` draws when it is told to.

Runs in: driver.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runner.status_view import duration, number
from runner.step_rate import StepRate
from watchdog.snapshot import TERMINAL_STATES, Snapshot

Mode = Literal["live", "plain", "silent"]

#: Chosen: long enough that a CI log of an hour stays readable, short enough to be seen alive.
_PLAIN_EVERY_S = 10.0


class Progress:
    """Shows snapshots and sentences as they come; `close` leaves the terminal as it was."""

    def __init__(self, console: Console, mode: Mode) -> None:
        self._console = console
        self._mode = mode
        self._rate = StepRate()
        self._attempt = 0
        self._live: Live | None = None
        self._shown_t_s: float | None = None
        self._shown_state = ""

    def update(self, snapshot: Snapshot) -> None:
        """Show the watchdog's newest view; times come from its `last_record_t_s`."""
        if snapshot.attempt != self._attempt:
            self._attempt, self._rate = snapshot.attempt, StepRate()
        t_s = snapshot.last_step_t_s or snapshot.last_record_t_s
        if t_s is not None and snapshot.step > 0:
            self._rate.add(t_s, snapshot.step)
        if self._mode == "live":
            self._draw(snapshot)
        elif self._mode == "plain" and self._is_due(snapshot):
            self._shown_t_s = snapshot.last_record_t_s
            self._shown_state = snapshot.state
            self._console.print(", ".join(self._facts(snapshot)), markup=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """Print a sentence, above the bar where there is one."""
        if self._mode != "silent":
            self._console.print(sentence, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stop drawing; the last bar stays on the screen. May be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, snapshot: Snapshot) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(self._bar(snapshot), refresh=True)

    def _bar(self, snapshot: Snapshot) -> Table:
        table = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, snapshot.max_steps), completed=snapshot.step, width=30)
        table.add_row(Text(snapshot.job, style="bold"), bar)
        outer = Table.grid()
        outer.add_row(table)
        outer.add_row(Text(", ".join(self._facts(snapshot)[1:]), style=_style(snapshot)))
        return outer

    def _is_due(self, snapshot: Snapshot) -> bool:
        if snapshot.state != self._shown_state or self._shown_t_s is None:
            return True
        t_s = snapshot.last_record_t_s
        return t_s is not None and t_s - self._shown_t_s >= _PLAIN_EVERY_S

    def _facts(self, snapshot: Snapshot) -> list[str]:
        return list(_facts(snapshot, self._rate.steps_per_s))


def progress_for(console: Console, *, is_silent: bool) -> Progress:
    """Return what suits the output: a live bar on a terminal, plain lines elsewhere."""
    if is_silent:
        return Progress(console, "silent")
    return Progress(console, "live" if console.is_terminal else "plain")


def _facts(snapshot: Snapshot, steps_per_s: float | None) -> Iterator[str]:
    yield snapshot.job
    yield snapshot.state
    yield f"step {snapshot.step}/{snapshot.max_steps}"
    yield f"loss {number(snapshot.loss)}" if snapshot.loss_is_finite else "loss not finite"
    yield f"lr {number(snapshot.lr)}"
    if snapshot.val_metric is not None:
        yield f"metric {number(snapshot.val_metric)}"
    if steps_per_s is not None and snapshot.state not in TERMINAL_STATES:
        yield f"{steps_per_s:.3g} step/s"
        yield f"ETA {duration((snapshot.max_steps - snapshot.step) / steps_per_s)}"
    if snapshot.attempt > 0:
        yield f"attempt {snapshot.attempt}"
    if incidents := sum(snapshot.incidents.values()):
        yield f"incidents {incidents}"
    if snapshot.open_incident:
        yield f"open: {snapshot.open_incident}"


def _style(snapshot: Snapshot) -> str:
    if snapshot.state in ("halted", "failed"):
        return "red"
    return "yellow" if snapshot.open_incident else ""
