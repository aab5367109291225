"""The curves of the report page, each with a caption and with words for who cannot see it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from runner import report_charts
from runner.chapters import Story
from runner.curves import Curves
from runner.evidence import Evidence
from runner.plain_words import plural, value
from runner.rank_times import slowest_over_median
from runner.report_charts import Figure


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure with a caption that says how to read it."""

    name: str
    title: str
    figure: Figure
    words: str = ""  # what somebody is told who cannot see it
    caption: str = ""
    is_wide: bool = False


def charts(evidence: Evidence, story: Story) -> tuple[Chart, ...]:
    """Return the figures of a page; those with nothing to show are left out."""
    curves = evidence.curves
    candidates = (
        Chart(
            "loss",
            "Training loss",
            report_charts.loss_figure(curves, story.interventions),
            _loss_words(evidence, story),
            "Mean over ranks. Dotted: steps that were thrown away. Shaded: from the first bad step "
            "to the verdict. Arrow: back to the checkpoint that was restored. Drag to zoom, "
            "double-click to see everything.",
            is_wide=True,
        ),
        Chart(
            "validation",
            "Validation",
            report_charts.validation_figure(curves),
            _validation_words(evidence),
            is_wide=True,
        ),
        Chart("lr", "Learning rate", report_charts.lr_figure(curves), _range(curves, "lr")),
        Chart(
            "norm",
            "Gradient norm",
            report_charts.norm_figure(curves),
            _range(curves, "grad_norm"),
            "Before clipping.",
        ),
        Chart(
            "ranks",
            "Step time by rank",
            report_charts.rank_figure(evidence.rank_times),
            _rank_note(evidence),
            _rank_note(evidence),
            is_wide=True,
        ),
    )
    return tuple(chart for chart in candidates if chart.figure["data"])


def _loss_words(evidence: Evidence, story: Story) -> str:
    incidents = plural(len(story.interventions), "incident")
    return f"Training loss over steps, {incidents} marked. {_range(evidence.curves, 'loss')}"


def _validation_words(evidence: Evidence) -> str:
    found = evidence.curves.evaluations
    if not found:
        return ""
    last = found[-1]
    return (
        f"{plural(len(found), 'validation')}; the last, at step {last.step:,}: loss "
        f"{value(last.val_loss)}, metric {value(last.val_metric)}"
    )


def _range(curves: Curves, name: str) -> str:
    """Return what a curve goes from and to, in words."""
    found = [getattr(point, name) for point in curves.clean]
    numbers = [number for number in found if number is not None and math.isfinite(number)]
    if not numbers:
        return ""
    return (
        f"From {value(numbers[0])} to {value(numbers[-1])}, between {value(min(numbers))} and "
        f"{value(max(numbers))}."
    )


def _rank_note(evidence: Evidence) -> str:
    ratio = slowest_over_median(evidence.rank_times)
    if ratio is None:
        return ""
    shown = min(len(evidence.rank_times), report_charts.MAX_RANK_LINES)
    which = "" if shown == len(evidence.rank_times) else f", the {shown} slowest shown"
    ranks = plural(len(evidence.rank_times), "rank")
    return f"{ranks}{which}. The slowest takes {ratio:.2f} times the median."
