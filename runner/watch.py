"""Shows a run as it goes, from its files alone: a live screen, or a line per change.

It can be opened and closed at any time from any shell: the run does not know.

Runs in: driver.
"""

from __future__ import annotations

import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from runner.ledger_fields import text
from runner.ledger_words import clock_time
from runner.run_feed import RunFeed
from runner.runs import RunFolder
from runner.status_view import duration, number
from runner.watch_state import News, WatchState, printable
from runner.watch_view import screen

#: Chosen: looks alive, and costs a twentieth of a core.
_LOOK_S = 0.5
#: Chosen: a CI log of an hour stays readable.
_PLAIN_EVERY_S = 10.0
#: Chosen: a driver imports torch and Ray within this, on a loaded machine too.
_PENDING_S = 120.0
#: Chosen: on a cluster another driver follows one that was killed, in about as long.
_GONE_S = 30.0
_QUIT_KEYS = frozenset("qQ\x03\x04")
_EXIT_CODES = {"finished": 0, "halted": 3, "stopped": 130}

#: Waits for so many seconds, or until a key is pressed, which it returns.
Keys = Callable[[float], str]


def watch_run(
    run: RunFolder,
    console: Console,
    *,
    clock: Callable[[], float],
    is_alive: Callable[[], bool],
) -> int:
    """Show `run` until it ends or the view is closed; return the run's exit code, or 0.

    Args:
        run: the folder, or a mirror of it.
        console: where to show it; a live screen if that is a terminal.
        clock: now, Unix seconds.
        is_alive: whether somebody drives the run.
    """
    watch = Watch(run, clock=clock, is_alive=is_alive)
    try:
        with keyboard() as keys:
            if console.is_terminal and not console.is_dumb_terminal:
                is_over = watch_live(watch, console, keys)
            else:
                is_over = watch_plain(watch, lambda line: _say(console, line), keys)
    except KeyboardInterrupt:
        is_over = False
    if not is_over:
        _say(console, f"view closed; run {run.run_id} was left alone: {status_line(watch.state)}")
        return 0
    for line in summary(watch.state, run):
        _say(console, line)
    return exit_code(watch.state)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


class Watch:
    """One look after the other; knows when there is nothing more to come."""

    def __init__(
        self, run: RunFolder, *, clock: Callable[[], float], is_alive: Callable[[], bool]
    ) -> None:
        self._feed = RunFeed(run)
        self._clock = clock
        self._is_alive = is_alive
        self._opened_s = clock()
        self.notice = ""
        self.is_over = False

    @property
    def state(self) -> WatchState:
        """What is known of the run."""
        return self._feed.state

    @property
    def pause_s(self) -> float:
        """How long to wait until the next look."""
        return 0.0 if self._feed.is_behind else _LOOK_S

    def look(self) -> list[News]:
        """Take in what is new, and judge whether the run is over."""
        # Asked first: a driver that ends meanwhile has written its end by then.
        is_alive = self._is_alive()
        news = self._feed.look()
        state = self.state
        has_begun = state.phase != "pending"
        self.notice = self._notice(is_alive=is_alive, has_begun=has_begun)
        if not self._feed.is_behind:
            patience_s = _GONE_S if has_begun else _PENDING_S
            is_abandoned = not is_alive and self._silent_s() > patience_s
            self.is_over = state.end is not None or is_abandoned
        return news

    def _notice(self, *, is_alive: bool, has_begun: bool) -> str:
        if self._feed.is_behind:
            return "reading what happened so far"
        if self.state.end is not None:
            return "the run has ended"
        if not is_alive and not has_begun:
            return "waiting for a driver; q closes this view"
        silent_s = self._silent_s()
        if not is_alive:
            return f"its driver is gone for {duration(silent_s)}; waiting for another one"
        if silent_s > _PLAIN_EVERY_S:
            return f"no news for {duration(silent_s)}; q closes this view, the run goes on"
        return "q closes this view, the run goes on"

    def _silent_s(self) -> float:
        """Return the seconds since the newest record, or since the view was opened."""
        return self._clock() - (self.state.last_t_s or self._opened_s)


def watch_live(watch: Watch, console: Console, keys: Keys) -> bool:
    """Draw until the run is over; return false if the reader closed the view before."""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            watch.look()
            size = console.size
            view = screen(watch.state, size.width, size.height, watch.notice)
            live.update(view, refresh=True)
            if watch.is_over:
                return True
            if keys(watch.pause_s) in _QUIT_KEYS:
                return False


def watch_plain(watch: Watch, say: Callable[[str], None], keys: Keys) -> bool:
    """Say a line for each piece of news, and one of the state now and then."""
    said: tuple[str, float] | None = None
    while True:
        for item in watch.look():
            say(f"{clock_time(item.t_s)}  {item.sentence}")
        state = watch.state
        now_s = state.last_t_s or 0.0
        if said is None or state.phase != said[0] or now_s - said[1] >= _PLAIN_EVERY_S:
            said = (state.phase, now_s)
            say(status_line(state))
        if watch.is_over:
            return True
        if keys(watch.pause_s) in _QUIT_KEYS:
            return False


def status_line(state: WatchState) -> str:
    """Return where a run is, in one line."""
    of = "" if state.max_steps is None else f"/{state.max_steps}"
    parts = [state.phase, f"step {state.step}{of}"]
    parts.append(f"loss {number(state.loss)}" if state.is_finite else "loss not finite")
    parts.append(f"lr {number(state.lr)}")
    if state.val_metric is not None:
        parts.append(f"metric {number(state.val_metric)}")
    if state.eta_s is not None:
        parts.append(f"ETA {duration(state.eta_s)}")
    return ", ".join(parts)


def summary(state: WatchState, run: RunFolder) -> list[str]:
    """Return how a run ended, for when the screen is gone."""
    end = state.end or {}
    if state.end is None:
        first = (
            f"{state.run_id} has no end and nobody drives it; its last step is {state.step}; "
            f"make resume RUN={state.run_id} continues it"
        )
    else:
        first = f"{state.run_id} {state.phase} at step {state.step}" + (
            f": {reason}" if (reason := printable(text(end, "reason"))) else ""
        )
    ratio = state.goodput_ratio
    facts = [f"loss {number(state.loss)}"]
    if state.val_metric is not None:
        facts.append(f"metric {number(state.val_metric)}")
    facts += [f"{name} {count}" for name, count in state.counts.items()]
    facts.append(f"steps lost {state.steps_lost}")
    if ratio is not None:
        facts.append(f"goodput {100 * ratio:.0f} %")
    last = f"report: {run.report}" if run.report.exists() else f"make report RUN={state.run_id}"
    return [first, ", ".join(facts), last]


def exit_code(state: WatchState) -> int:
    """Return what `submit` returned for this run, or 1 for one without an end."""
    return _EXIT_CODES.get(state.phase, 1) if state.end is not None else 1


@contextmanager
def keyboard() -> Iterator[Keys]:
    """Read single keys while the block runs; the terminal is as before afterwards."""
    if not sys.stdin.isatty():
        yield _no_keys
        return
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle)
        yield _pressed
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def _pressed(timeout_s: float) -> str:
    ready, _, _ = select.select([sys.stdin], [], [], timeout_s)
    # A terminal that went away reads as its end, which closes the view too.
    return (sys.stdin.read(1) or "q") if ready else ""


def _no_keys(timeout_s: float) -> str:
    select.select([], [], [], timeout_s)
    return ""
