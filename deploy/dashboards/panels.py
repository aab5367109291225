"""The few kinds of panel that the dashboards are made of.

Runs in: anywhere (pure); needs grafana-foundation-sdk, a development tool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.dashboard import Panel as PanelModel
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

#: The data source is a variable, so that a dashboard works on any Grafana.
DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT = 8


@dataclass(frozen=True, slots=True)
class Query:
    """One query: its PromQL and the name of its series in the legend."""

    expr: str
    legend: str = ""


def lines(
    title: str, text: str, queries: Sequence[Query], *, unit: str = "short", span: int = 12
) -> Builder[PanelModel]:
    """Return curves over time."""
    panel = (
        timeseries.Panel()
        .line_width(1.5)
        .fill_opacity(4)
        .show_points(VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    return _with(panel, title, text, queries, unit, span)


def areas(
    title: str, text: str, queries: Sequence[Query], *, unit: str = "percentunit", span: int = 12
) -> Builder[PanelModel]:
    """Return shares of a whole over time, stacked."""
    panel = (
        timeseries.Panel()
        .line_width(0)
        .fill_opacity(70)
        .show_points(VisibilityMode.NEVER)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL))
        .legend(_legend())
    )
    return _with(panel, title, text, queries, unit, span)


def bars(
    title: str, text: str, queries: Sequence[Query], *, unit: str = "short", span: int = 12
) -> Builder[PanelModel]:
    """Return events a moment, as bars."""
    panel = (
        timeseries.Panel()
        .draw_style(GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL))
        .legend(_legend())
    )
    return _with(panel, title, text, queries, unit, span)


def number(
    title: str,
    text: str,
    expr: str,
    *,
    unit: str = "short",
    span: int = 4,
    limits: Sequence[tuple[float, str]] = (),
    legend: str = "",
) -> Builder[PanelModel]:
    """Return one big number; `limits` colour it from a value on."""
    steps = [Threshold(value=None, color="text" if not limits else "green")]
    steps += [Threshold(value=value, color=color) for value, color in limits]
    panel = (
        stat.Panel()
        .color_mode(BigValueColorMode.VALUE)
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )
    return _with(panel, title, text, [Query(expr, legend)], unit, span, height=4)


def states(
    title: str, text: str, queries: Sequence[Query], *, span: int = 24
) -> Builder[PanelModel]:
    """Return which state held when."""
    panel = statetimeline.Panel().show_value(VisibilityMode.NEVER).row_height(0.8)
    return _with(panel, title, text, queries, "short", span)


def ranking(
    title: str, text: str, queries: Sequence[Query], *, unit: str = "s", span: int = 12
) -> Builder[PanelModel]:
    """Return the present values as horizontal bars."""
    return _with(bargauge.Panel(), title, text, queries, unit, span, is_instant=True)


def rows(
    title: str, text: str, queries: Sequence[Query], *, unit: str = "short", span: int = 24
) -> Builder[PanelModel]:
    """Return a table of the present values."""
    return _with(table.Panel(), title, text, queries, unit, span, is_instant=True)


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
    )


def _with(
    panel: Any,
    title: str,
    text: str,
    queries: Sequence[Query],
    unit: str,
    span: int,
    *,
    height: int = _HEIGHT,
    is_instant: bool = False,
) -> Builder[PanelModel]:
    """Return the panel with what every panel has: title, description, unit, size and queries."""
    panel = panel.title(title).description(text).datasource(DATASOURCE).unit(unit)
    panel = panel.span(span).height(height)
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref)
        target = target.datasource(DATASOURCE)
        target = target.instant().format(PromQueryFormat.TABLE) if is_instant else target.range()
        panel = panel.with_target(target)
    built: Builder[PanelModel] = panel
    return built
