"""Shows a comparison of runs: a table, one JSON document, one page with overlaid curves.

Runs in: driver.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from runner.comparison import Comparison, Side, compare
from runner.curves import Curves, thin
from runner.evidence import Evidence, read_evidence
from runner.plain_words import duration, value
from runner.report import render_page
from runner.report_charts import Figure, line
from runner.report_figures import Chart
from runner.report_tables import Table
from runner.runs import RunFolder

_MAX_POINTS = 2000
#: Share of a new loss in the running mean that is drawn over the raw losses. Chosen: the trend of
#: some dozens of steps shows, a step of the loss does not blur.
_SMOOTHING = 0.05


@dataclass(frozen=True, slots=True)
class CompareView:
    """The page: texts, tables and charts."""

    title: str
    conclusion: tuple[str, ...]
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    sentences: tuple[tuple[str, tuple[str, ...]], ...]


def compare_runs(runs: Sequence[RunFolder], page: Path) -> Comparison:
    """Write the page and return the comparison.

    Raises:
        OSError: the page cannot be written.
    """
    evidences = [read_evidence(run) for run in runs]
    found = compare(evidences)
    view = build_compare_view(found, evidences)
    page.parent.mkdir(parents=True, exist_ok=True)
    charts = {chart.name: chart.figure for chart in view.charts}
    html = render_page("compare.html.j2", view, charts)
    page.write_text(html, encoding="utf-8", errors="replace")
    return found


def comparison_json(found: Comparison, page: Path) -> dict[str, Any]:
    """Return the one JSON document of `compare --json`."""
    return {
        "runs": [dataclasses.asdict(side) for side in found.sides],
        "by": "epoch" if found.is_by_epoch else "stretch",
        "stretches": [dataclasses.asdict(stretch) for stretch in found.stretches],
        "differences": {row.name: list(row.values) for row in found.differences},
        "conclusion": list(found.conclusion),
        "page": str(page),
    }


def show_comparison(console: Console, found: Comparison) -> None:
    """Print the tables and the conclusion."""
    for table in _tables(found):
        shown = RichTable(title=table.title, title_justify="left", box=None, pad_edge=False)
        for place, name in enumerate(table.columns):
            shown.add_column(name, justify="left" if place == 0 else "right", overflow="fold")
        for row in table.rows:
            # As text: a setting such as [a, b] is not to be taken for markup.
            shown.add_row(*map(Text, row))
        console.print(shown)
        console.print()
    for side in found.sides:
        for sentence in side.sentences:
            console.print(f"{side.run}: {sentence}", markup=False, soft_wrap=True)
    for sentence in found.conclusion:
        console.print(sentence, markup=False, soft_wrap=True)


def build_compare_view(found: Comparison, evidences: Sequence[Evidence]) -> CompareView:
    """Return everything the page shows."""
    names = [side.run for side in found.sides]
    return CompareView(
        title=" against ".join(names),
        conclusion=found.conclusion,
        tables=_tables(found),
        charts=_charts(names, [evidence.curves for evidence in evidences]),
        sentences=tuple((side.run, side.sentences) for side in found.sides if side.sentences),
    )


# -- tables ----------------------------------------------------------------------------------


def _tables(found: Comparison) -> tuple[Table, ...]:
    names = tuple(side.run for side in found.sides)
    first = "epoch" if found.is_by_epoch else "steps"
    columns = tuple(f"{what} {name}" for what in ("loss", "val", "metric") for name in names)
    stretches = tuple(
        (s.name, *map(_known, s.losses), *map(_known, s.val_losses), *map(_known, s.metrics))
        for s in found.stretches
    )
    differences = tuple((row.name, *map(_setting, row.values)) for row in found.differences)
    return (
        Table("Ends", ("", *names), tuple(_ends(found.sides))),
        Table(
            f"First {first}s" if found.is_by_epoch else "By stretch",
            (first, *columns),
            stretches,
            note="Training loss is the mean, validation the last of each.",
        ),
        Table("Settings that differ", ("setting", *names), differences),
    )


def _ends(sides: Sequence[Side]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, Callable[[Side], str]]] = [
        ("job", lambda s: s.job),
        ("state", lambda s: s.state),
        ("step", lambda s: f"{s.step:,}"),
        ("training loss", lambda s: value(s.loss)),
        ("validation loss", lambda s: value(s.val_loss)),
        ("metric", lambda s: value(s.metric)),
        ("best metric", _best),
        ("wall time", lambda s: duration(s.seconds)),
        ("goodput", lambda s: "-" if s.goodput_ratio is None else f"{s.goodput_ratio:.1%}"),
        ("incidents", _incidents),
        ("rollbacks", lambda s: str(s.rollbacks)),
        ("restarts", lambda s: str(s.restarts)),
        ("steps lost", lambda s: str(s.steps_lost)),
    ]
    named = sorted({name for side in sides for name in side.metrics} - {"val_loss"})
    found = [(name, *(tell(side) for side in sides)) for name, tell in rows]
    return found + [(n, *(value(side.metrics.get(n)) for side in sides)) for n in named]


def _best(side: Side) -> str:
    at = "" if side.best_metric_step is None else f" at step {side.best_metric_step:,}"
    return f"{value(side.best_metric)}{at}"


def _incidents(side: Side) -> str:
    if not side.incidents:
        return "none"
    return ", ".join(f"{count} x {cause}" for cause, count in sorted(side.incidents.items()))


def _known(number: float | None) -> str:
    """Return the number, or a dash: most epochs have no validation."""
    return "-" if number is None else value(number)


def _setting(given: Any) -> str:
    return "-" if given is None else str(given)


# -- charts ----------------------------------------------------------------------------------


def _charts(names: Sequence[str], curves: Sequence[Curves]) -> tuple[Chart, ...]:
    losses, rates, val_losses, metrics = [], [], [], []
    for place, (name, curve) in enumerate(zip(names, curves, strict=True)):
        colour = f"var:rank{place % 6}"
        points = [(p.step, p.loss) for p in thin(curve.clean, _MAX_POINTS)]
        raw = line(points, name, colour, width=1)
        losses.append(raw | {"opacity": 0.25, "showlegend": False, "hoverinfo": "skip"})
        losses.append(line(_smooth(points), name, colour, width=2.2))
        rates.append(line([(p.step, p.lr) for p in thin(curve.clean, _MAX_POINTS)], name, colour))
        seen = curve.evaluations
        marks = "lines+markers"
        val_losses.append(line([(e.step, e.val_loss) for e in seen], name, colour, mode=marks))
        metrics.append(line([(e.step, e.val_metric) for e in seen], name, colour, mode=marks))
    note = "Faint: every step. Strong: a running mean. Superseded steps are left out."
    candidates = (
        Chart("loss", "Training loss", _figure(losses, "loss"), caption=note, is_wide=True),
        Chart("metric", "Validation metric", _figure(metrics, "metric"), is_wide=True),
        Chart("validation", "Validation loss", _figure(val_losses, "validation loss")),
        Chart("lr", "Learning rate", _figure(rates, "learning rate")),
    )
    return tuple(
        c for c in candidates if any(y is not None for t in c.figure["data"] for y in t["y"])
    )


def _figure(traces: Sequence[Figure], name: str) -> Figure:
    finite = [trace | {"y": [y if _is_drawn(y) else None for y in trace["y"]]} for trace in traces]
    return {"data": finite, "layout": {"yaxis": {"title": {"text": name}}}}


def _has_points(figure: Figure) -> bool:
    return any(y is not None for trace in figure["data"] for y in trace["y"])


def _is_drawn(height: float | None) -> bool:
    """Whether a value can be on a chart: a loss of 1e30 would flatten all others."""
    return height is not None and abs(height) < 1e30


def _smooth(points: Sequence[tuple[int, float | None]]) -> list[tuple[int, float | None]]:
    """Return a running mean, corrected at the start; a step that is not finite is left out."""
    mean, weight, found = 0.0, 0.0, []
    for step, loss in points:
        if loss is not None and _is_drawn(loss):
            mean += _SMOOTHING * (loss - mean)
            weight += _SMOOTHING * (1 - weight)
        found.append((step, mean / weight if weight else None))
    return found
