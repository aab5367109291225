"""The screen of `watch`: curves, ranks and news of a run, laid out for the size of the terminal.

Runs in: driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.layout import Layout
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runner.braille import Canvas, window_over
from runner.ledger_words import clock_time
from runner.live_curve import LiveCurve
from runner.live_ranks import Health, RankLine, census
from runner.status_view import STATE_COLOURS, duration, number
from runner.watch_state import News, WatchState, printable

#: Chosen: below these a second column, or a second row of curves, would show nothing.
_TWO_COLUMNS = 90
_TWO_ROWS = 26
_AXIS_WIDTH = 8
_TIME_WIDTH = 9
#: Texts are wrapped by it; nothing is ever printed to it.
_MEASURE = Console()

_CLEAN, _SUPERSEDED = 1, 2
_HEALTH_STYLE = {
    Health.GONE: "bold red",
    Health.SILENT: "red",
    Health.STUCK: "yellow",
    Health.BEHIND: "yellow",
    Health.SLOW: "yellow",
    Health.WELL: "green",
    Health.DONE: "",
}
_NEWS_STYLE = {
    "incident_opened": "red",
    "verdict": "bold",
    "checkpoint_quarantined": "red",
    "checkpoint_tainted": "yellow",
    "suspect": "yellow",
    "recovery_done": "green",
    "proof": "green",
    "run_ended": "bold",
}


def screen(state: WatchState, width: int, height: int, notice: str) -> RenderableType:
    """Return the whole screen; `notice` is its last line."""
    layout = Layout()
    news_lines = max(3, min(height // 3, height - 14, 2 * max(2, len(state.news))))
    layout.split_column(
        Layout(_head(state, width), size=3),
        Layout(name="middle"),
        Layout(_news(state, width, news_lines), size=news_lines + 2),
        Layout(_foot(state, notice), size=1),
    )
    is_wide, is_high = width >= _TWO_COLUMNS, height >= _TWO_ROWS
    rows = [[_loss(state), _validation(state)] if is_wide else [_loss(state)]]
    if is_high:
        rows.append([_rate(state), _ranks(state)] if is_wide else [_ranks(state)])
    layout["middle"].split_column(*(_row(panels) for panels in rows))
    return layout


def _row(panels: Sequence[RenderableType]) -> Layout:
    row = Layout()
    row.split_row(*(Layout(panel) for panel in panels))
    return row


def _head(state: WatchState, width: int) -> RenderableType:
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(printable(state.run_id), "bold").append("  ")
    title.append(printable(state.phase), f"bold {STATE_COLOURS.get(state.phase, 'cyan')}")
    title.append(f"  {printable(state.job)}", "dim")
    if state.open_incident:
        title.append(f"  open incident: {printable(state.open_incident)}", "bold red")
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(ratio=1)
    grid.add_row(title)
    bar = Table.grid(padding=(0, 1))
    total = max(1, state.max_steps or 1)
    bar.add_row(
        ProgressBar(
            total=total,
            completed=state.step,
            width=max(10, min(40, width // 3)),
            complete_style="cyan",
            finished_style="green",
        ),
        Text(", ".join(_pace(state)), no_wrap=True, overflow="ellipsis"),
    )
    grid.add_row(bar)
    grid.add_row(Text(", ".join(_facts(state)), "dim", no_wrap=True, overflow="ellipsis"))
    return grid


def _pace(state: WatchState) -> Iterator[str]:
    of = "" if state.max_steps is None else f"/{state.max_steps}"
    share = f" ({100 * state.step / state.max_steps:.0f} %)" if state.max_steps else ""
    yield f"step {state.step}{of}{share}"
    if state.end is None and (rate := state.rate.steps_per_s) is not None:
        yield f"{rate:.3g} step/s"
    if state.eta_s is not None:
        yield f"ETA {duration(state.eta_s)}"


def _facts(state: WatchState) -> Iterator[str]:
    yield f"attempt {state.attempt}"
    if state.world_size:
        yield f"{state.world_size} rank{'s' if state.world_size != 1 else ''}"
    if state.started_t_s is not None and state.last_t_s is not None:
        yield f"up {duration(state.last_t_s - state.started_t_s)}"
    ratio = state.goodput_ratio
    yield "goodput -" if ratio is None else f"goodput {100 * ratio:.0f} %"
    yield ", ".join(f"{name} {count}" for name, count in state.counts.items())
    if state.steps_lost:
        yield f"steps lost {state.steps_lost}"


def _foot(state: WatchState, notice: str) -> Text:
    saved = "none yet" if state.saved_step is None else f"step {state.saved_step}"
    trusted = "none" if state.trusted_step is None else f"step {state.trusted_step}"
    memory = "" if state.memory_step is None else f", in memory step {state.memory_step}"
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f" checkpoint {saved}, trusted {trusted}{memory}   ", "dim")
    return text.append(notice, "dim italic")


def _loss(state: WatchState) -> Panel:
    now = number(state.loss) if state.is_finite else "not finite"
    return _panel("loss", now, _Plot(state, (state.curves.loss, "cyan")))


def _validation(state: WatchState) -> Panel:
    """The metric if there is one, else the validation loss."""
    curves = state.curves
    if curves.val_metric.points:
        return _panel(
            "validation metric",
            number(state.val_metric),
            _Plot(state, (curves.val_metric, "green")),
        )
    return _panel(
        "validation loss", number(state.val_loss), _Plot(state, (curves.val_loss, "green"))
    )


def _rate(state: WatchState) -> Panel:
    return _panel("learning rate", number(state.lr), _Plot(state, (state.curves.lr, "magenta")))


def _panel(title: str, now: str, content: RenderableType) -> Panel:
    heading = Text(f"{title} ").append(now, "bold")
    return Panel(content, title=heading, title_align="left", border_style="dim", padding=0)


class _Plot:
    """A curve with its scale on the left and its steps below; fills the space it is given."""

    def __init__(self, state: WatchState, *curves: tuple[LiveCurve, str]) -> None:
        self._curves = curves
        self._last_step = max(state.step, state.furthest_step)
        self._marks = [step for step, _ in state.marks]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw at the size of the panel."""
        width = max(_AXIS_WIDTH + 4, options.max_width)
        height = max(2, options.height or 8)
        clean = [curve.points for curve, _ in self._curves]
        window = window_over(clean, x_low=1, x_high=self._last_step)
        if window is None:
            yield Text("nothing yet", "dim")
            return
        columns, rows = width - _AXIS_WIDTH - 1, height - 1
        canvas = Canvas(columns, rows, window)
        for curve, _ in self._curves:
            canvas.curve(curve.superseded, _SUPERSEDED)
        for points in clean:
            canvas.curve(points, _CLEAN)
        styles = {0: "", _CLEAN: self._curves[0][1], _SUPERSEDED: "dim red"}
        labels = {0: number(window.y_high), rows - 1: number(window.y_low)}
        for index, stretches in enumerate(canvas.rows()):
            line = Text(labels.get(index, "").rjust(_AXIS_WIDTH) + " ", "dim", no_wrap=True)
            for chars, pen in stretches:
                line.append(chars, styles[pen] or "not dim")
            yield line
        yield self._axis(canvas, columns, window.x_low, window.x_high)

    def _axis(self, canvas: Canvas, columns: int, low: float, high: float) -> Text:
        """Return the first and the last step, and a mark under each incident between them."""
        left, right = f"{low:.0f}", f"{high:.0f}"
        chars = list(left.ljust(columns - len(right)) + right)[:columns]
        line = Text(" " * (_AXIS_WIDTH + 1) + "".join(chars), "dim", no_wrap=True)
        marks = {canvas.column(step) for step in self._marks if low <= step <= high}
        for column in marks:
            at = _AXIS_WIDTH + 1 + column
            before, after = line[:at], line[at + 1 :]
            line = before + Text("\N{BLACK UP-POINTING TRIANGLE}", "bold not dim red") + after
        return line


def _ranks(state: WatchState) -> Panel:
    lines = state.ranks.lines()
    counts = census(lines)
    now = ", ".join(f"{count} {health}" for health, count in counts.items())
    return _panel("ranks", now, _RankLines(lines))


class _RankLines:
    """As many ranks as fit, the worst first."""

    def __init__(self, lines: Sequence[RankLine]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw at the size of the panel."""
        if not self._lines:
            yield Text("none has been heard yet", "dim")
            return
        room = max(1, options.height or 8)
        is_all = len(self._lines) <= room
        for line in self._lines[: room if is_all else room - 1]:
            text = Text(f" {line.rank:>4} ", no_wrap=True, overflow="ellipsis")
            text.append(f"\N{BLACK CIRCLE} {line.health:<12}", _HEALTH_STYLE[line.health])
            text.append(f" step {line.step}")
            if line.step_s is not None:
                text.append(f"  {line.step_s:.3g} s a step", "dim")
            yield text.append(f"  {line.note}" if line.note else "", "dim")
        if not is_all:
            yield Text(f"      and {len(self._lines) - room + 1:,} more", "dim")


def _news(state: WatchState, width: int, lines: int) -> Panel:
    """The newest news that fit, whole sentences where there is room for them."""
    room = max(10, width - 2 - _TIME_WIDTH)
    shown: list[Text] = []
    for item in reversed(state.news):
        text = Text(item.sentence, _NEWS_STYLE.get(item.kind, ""))
        wrapped = list(text.wrap(_MEASURE, room))
        if len(shown) + len(wrapped) > lines:
            wrapped = wrapped[: lines - len(shown)]
        shown[:0] = [
            Text(_time(item) if index == 0 else " " * _TIME_WIDTH, "dim").append_text(line)
            for index, line in enumerate(wrapped)
        ]
        if len(shown) >= lines:
            break
    return _panel("what happened", "", Group(*shown) if shown else Text("nothing yet", "dim"))


def _time(item: News) -> str:
    return f"{clock_time(item.t_s)[11:]:<8} "
