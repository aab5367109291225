"""Curves as plotly figures: plain data, with colours by role (`var:loss`) instead of by value.

The page replaces a role by the colour of the reader's light or dark theme.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runner.chapters import Intervention
from runner.curves import Curves, Jump, Point, thin
from runner.rank_times import RankTime

Figure = dict[str, Any]

#: Chosen: a 4k screen is 3,840 pixels wide, and a chart takes a third of it.
MAX_POINTS = 4000
#: A superseded branch is a footnote to the clean curve.
MAX_BRANCH_POINTS = 600
#: Chosen: more lines than this cannot be told apart by colour or by hovering.
MAX_RANK_LINES = 12
#: Chosen: more of them hide the curve; the newest are shown.
MAX_MARKS = 100
MAX_LABELS = 12
#: Chosen: as many branches of `MAX_BRANCH_POINTS` make a page of one megabyte more.
MAX_BRANCHES = 40


@dataclass(frozen=True, slots=True)
class _Quantity:
    """One number of a point, and how a line of it looks."""

    of: Callable[[Point], float | None]
    name: str
    colour: str


_LOSS = _Quantity(lambda p: p.loss, "training loss", "var:loss")
_LR = _Quantity(lambda p: p.lr, "learning rate", "var:lr")
_NORM = _Quantity(lambda p: p.grad_norm, "gradient norm", "var:norm")


def loss_figure(curves: Curves, interventions: Sequence[Intervention]) -> Figure:
    """Return the loss with superseded branches, incidents, returns and non-finite steps."""
    traces = _lines(curves, _LOSS)
    traces += _nonfinite(curves)
    layout = {
        "yaxis": {"title": {"text": "loss"}, "range": _loss_range(curves)},
        "shapes": _incident_bands(interventions) + _jump_lines(curves.jumps),
        "annotations": _jump_labels(curves.jumps),
        "margin": {"t": 44 if curves.jumps else 12},
    }
    return {"data": traces, "layout": layout}


def validation_figure(curves: Curves) -> Figure:
    """Return the validation loss and the metric, each on its own axis."""
    traces = []
    for attribute, name, colour, axis in (
        ("val_loss", "validation loss", "var:loss", "y"),
        ("val_metric", "validation metric", "var:metric", "y2"),
    ):
        found = [(e.step, _number(getattr(e, attribute))) for e in curves.evaluations]
        if any(value is not None for _, value in found):
            traces.append(line(found, name, colour, mode="lines+markers") | {"yaxis": axis})
        old = [(e.step, _number(getattr(e, attribute))) for e in curves.superseded_evaluations]
        if any(value is not None for _, value in old):
            faint = {"yaxis": axis, "opacity": 0.4, "showlegend": False}
            traces.append(line(old, f"{name}, superseded", colour, mode="markers") | faint)
    second = {
        "title": {"text": "metric"},
        "overlaying": "y",
        "side": "right",
        "showgrid": False,
        # Ticks of its own: in step with the left axis they fall on numbers nobody would choose.
        "tickmode": "auto",
    }
    return {
        "data": traces,
        "layout": {
            "yaxis": {"title": {"text": "validation loss"}},
            "yaxis2": second,
            "shapes": _jump_lines(curves.jumps),
        },
    }


def lr_figure(curves: Curves) -> Figure:
    """Return the learning rate as it was used, the watchdog's multiplier included."""
    return {
        "data": _lines(curves, _LR),
        "layout": {
            "yaxis": {"title": {"text": "learning rate"}, "rangemode": "tozero"},
            "shapes": _jump_lines(curves.jumps),
        },
    }


def norm_figure(curves: Curves) -> Figure:
    """Return the gradient norm on a logarithmic axis."""
    return {
        "data": _lines(curves, _NORM),
        "layout": {
            "yaxis": {"title": {"text": "gradient norm"}, "type": "log"},
            "shapes": _jump_lines(curves.jumps),
        },
    }


def rank_figure(times: Sequence[RankTime]) -> Figure:
    """Return the step time of each rank; of many ranks, of the slowest ones."""
    slowest = sorted(times, key=lambda time: -time.mean_s)[:MAX_RANK_LINES]
    traces = []
    for index, time in enumerate(sorted(slowest, key=lambda time: time.rank)):
        points = list(zip(time.steps, time.means_s, strict=True))
        traces.append(line(points, f"rank {time.rank}", f"var:rank{index % 6}"))
    axis = {"title": {"text": "seconds a step"}, "rangemode": "tozero"}
    return {"data": traces, "layout": {"yaxis": axis}}


def _lines(curves: Curves, quantity: _Quantity) -> list[Figure]:
    """Return the clean line over faint superseded ones; nothing if the quantity is not known."""
    keep = {step for jump in curves.jumps for step in (jump.step, jump.restored_step)}
    traces = []
    for index, branch in enumerate(curves.branches[-MAX_BRANCHES:]):
        points = [(p.step, _number(quantity.of(p))) for p in thin(branch, MAX_BRANCH_POINTS, keep)]
        faint = line(points, "superseded", "var:superseded", width=1.2)
        faint["line"]["dash"] = "dot"
        traces.append(faint | {"legendgroup": "superseded", "showlegend": index == 0})
    clean = [(p.step, _number(quantity.of(p))) for p in thin(curves.clean, MAX_POINTS, keep)]
    traces.append(line(clean, quantity.name, quantity.colour))
    return traces if any(y is not None for trace in traces for y in trace["y"]) else []


def line(
    points: Sequence[tuple[int, float | None]],
    name: str,
    colour: str,
    *,
    width: float = 1.8,
    mode: str = "lines",
) -> Figure:
    """Return one trace of (step, value) points; None is a gap."""
    return {
        "type": "scatter",
        "mode": mode,
        "name": name,
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {"color": colour, "width": width},
        "marker": {"color": colour, "size": 7},
        "connectgaps": False,
        "hovertemplate": "%{y:.4g}",
    }


def _nonfinite(curves: Curves) -> list[Figure]:
    """Return a mark for each step that was not finite, at the last finite loss before it."""
    marks: list[tuple[int, float | None]] = []
    for points in (*curves.branches, curves.clean):
        level: float | None = None
        for point in points:
            loss = _number(point.loss)
            level = level if loss is None else loss
            if not point.is_finite:
                marks.append((point.step, level))
    if not marks:
        return []
    trace = line(marks[:MAX_BRANCH_POINTS], "not finite", "var:bad", mode="markers")
    trace["marker"] |= {"symbol": "x", "size": 9}
    return [trace | {"hovertemplate": "NaN or infinite"}]


def _loss_range(curves: Curves) -> list[float] | None:
    """Return an axis that shows the clean curve whole and a spike of a branch cut off.

    A loss of 10,000 in a branch that was thrown away must not flatten the curve that counts.
    """
    clean = _losses(curves.clean)
    if not clean:
        return None
    low, high = min(clean), max(clean)
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    superseded = _losses(p for branch in curves.branches for p in branch)
    top = max([high, *(min(loss, high + 0.5 * (high - low)) for loss in superseded)])
    return [low - margin, top + margin]


def _losses(points: Iterable[Point]) -> list[float]:
    return [loss for point in points if (loss := _number(point.loss)) is not None]


def _incident_bands(interventions: Sequence[Intervention]) -> list[Figure]:
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": item.onset_step - 0.5,
            "x1": max(item.step, item.onset_step) + 0.5,
            "y0": 0,
            "y1": 1,
            "fillcolor": "var:band",
            "line": {"width": 0},
            "layer": "below",
        }
        for item in interventions[-MAX_MARKS:]
    ]


def _jump_lines(jumps: Sequence[Jump]) -> list[Figure]:
    return [
        {
            "type": "line",
            "xref": "x",
            "yref": "paper",
            "x0": jump.restored_step,
            "x1": jump.restored_step,
            "y0": 0,
            "y1": 1,
            "line": {"color": "var:jump", "width": 1, "dash": "dash"},
        }
        for jump in jumps[-MAX_MARKS:]
    ]


def _jump_labels(jumps: Sequence[Jump]) -> list[Figure]:
    """Return an arrow from the last step of each branch back to the step it was restored to."""
    return [
        {
            "xref": "x",
            "yref": "paper",
            "axref": "x",
            "x": jump.restored_step,
            "ax": jump.step,
            "y": 1,
            "ay": -20,
            "text": "rollback" if jump.is_in_place else "restart",
            "showarrow": True,
            "arrowhead": 2,
            "arrowsize": 1,
            "arrowwidth": 1.2,
            "arrowcolor": "var:jump",
            "font": {"color": "var:jump", "size": 11},
        }
        for jump in jumps[-MAX_LABELS:]
    ]


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
