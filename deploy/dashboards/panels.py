"""The few kinds of panel that the dashboards are made of.

Runs in: anywhere (pure); needs grafana-foundation-sdk, a development tool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    ScaleDistribution,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.dashboard import Panel as PanelModel
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from watchdog.snapshot import STATES

#: The data source is a variable, so that a dashboard works on any Grafana.
DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT = 8

_STATE_COLORS: Mapping[str, str] = {
    "pending": "text",
    "starting": "light-blue",
    "running": "green",
    "recovering": "yellow",
    "restarting": "orange",
    "finished": "blue",
    "stopped": "purple",
    "halted": "red",
    "failed": "dark-red",
}


@dataclass(frozen=True, slots=True)
class Query:
    """One query: its PromQL and the name of its series in the legend."""

    expr: str
    legend: str = ""


def lines(
    title: str,
    text: str,
    queries: Sequence[Query],
    *,
    unit: str = "short",
    span: int = 12,
    is_log: bool = False,
) -> Builder[PanelModel]:
    """Return curves over time; `is_log` for values that differ by orders of magnitude."""
    panel = (
        timeseries.Panel()
        .line_width(1.5)
        .fill_opacity(0)
        .show_points(VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if is_log:
        logarithmic = common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)
        # Left alone, the axis labels whatever is under a tenth of its top with 0.
        panel = panel.scale_distribution(logarithmic)
        panel = panel.decimals(4) if unit == "short" else panel
    return _with(panel, title, text, queries, unit, span)


def shares(
    title: str, text: str, query: Query, colors: Sequence[tuple[str, str]], *, span: int = 24
) -> Builder[PanelModel]:
    """Return shares of a whole over time, stacked to 100 %; `colors` are those of the legend."""
    panel = (
        timeseries.Panel()
        .line_width(0)
        .fill_opacity(70)
        .show_points(VisibilityMode.NEVER)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL))
        .min(0)
        .max(1)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    for name, color in colors:
        fixed = DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})
        panel = panel.override_by_name(name, [fixed])
    return _with(panel, title, text, [query], "percentunit", span)


def bars(
    title: str, text: str, queries: Sequence[Query], *, unit: str = "short", span: int = 12
) -> Builder[PanelModel]:
    """Return events a moment, as bars."""
    panel = (
        timeseries.Panel()
        .draw_style(GraphDrawStyle.BARS)
        .fill_opacity(80)
        .min(0)
        .decimals(0)
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
    legend: str = "{{run}}",
    has_trend: bool = True,
) -> Builder[PanelModel]:
    """Return one big number a run; `limits` colour it from a value on, a trend lies behind it."""
    steps = [Threshold(value=None, color="text" if not limits else "green")]
    steps += [Threshold(value=value, color=color) for value, color in limits]
    panel = (
        stat.Panel()
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.AREA if has_trend else BigValueGraphMode.NONE)
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    )
    return _with(panel, title, text, [Query(expr, legend)], unit, span, height=4)


def states(title: str, text: str, of: str, *, span: int = 24) -> Builder[PanelModel]:
    """Return which state each run was in when: one row a run, one colour a state.

    Args:
        title: of the panel.
        text: its description.
        of: matchers of the runs.
        span: columns of 24.
    """
    # A state is a label; a panel colours values. So each state is worth its place in the list.
    codes = " or ".join(
        f'{code} * training_run_state{{{of},training_run_state="{state}"}}'
        for code, state in enumerate(STATES)
    )
    panel = (
        statetimeline.Panel()
        .show_value(VisibilityMode.NEVER)
        .row_height(0.8)
        .legend(_legend())
        .mappings([_state_mapping()])
    )
    return _with(panel, title, text, [Query(f"sum by (run) ({codes})", "{{run}}")], "none", span)


def _state_mapping() -> ValueMap:
    return ValueMap(
        {
            str(code): ValueMappingResult(text=state, color=_STATE_COLORS[state], index=code)
            for code, state in enumerate(STATES)
        }
    )


def ranking(
    title: str, text: str, queries: Sequence[Query], *, unit: str = "s", span: int = 12
) -> Builder[PanelModel]:
    """Return the present values as horizontal bars, a bar a series."""
    panel = (
        bargauge.Panel()
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .min(0)
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
    )
    return _with(panel, title, text, queries, unit, span, is_instant=True)


def rows(
    title: str, text: str, queries: Sequence[Query], *, unit: str = "short", span: int = 24
) -> Builder[PanelModel]:
    """Return a table of the present values; the time of the query is left out."""
    panel = table.Panel().with_transformation(
        DataTransformerConfig(id_val="organize", options={"excludeByName": {"Time": True}})
    )
    return _with(panel, title, text, queries, unit, span, is_instant=True, is_table=True)


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
    is_table: bool = False,
) -> Builder[PanelModel]:
    """Return the panel with what every panel has: title, description, unit, size and queries."""
    panel = panel.title(title).description(text).datasource(DATASOURCE).unit(unit)
    panel = panel.span(span).height(height)
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(ref)
        target = target.datasource(DATASOURCE)
        # As a table a bar gauge would show one row of it alone.
        form = PromQueryFormat.TABLE if is_table else PromQueryFormat.TIME_SERIES
        target = target.instant().format(form) if is_instant else target.range()
        panel = panel.with_target(target)
    built: Builder[PanelModel] = panel
    return built
