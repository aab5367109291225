"""What every dashboard has: its variables, links and times.

Runs in: anywhere (pure); needs grafana-foundation-sdk, a development tool.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    VariableHide,
    VariableRefresh,
)

from deploy.dashboards.panels import DATASOURCE

#: Matchers of the runs that the variables choose.
OF_RUN = 'training_job=~"$training_job",run=~"$run"'
OF_JOB = 'training_job=~"$training_job"'
RATE = "$__rate_interval"


def increase(counter: str, by: str, of: str = OF_RUN) -> str:
    """Return the events of a counter in each interval of the panel, summed by one label.

    Values of the label without events are left out: they would fill the legend.
    """
    return f"sum by ({by}) (increase({counter}{{{of}}}[{RATE}])) > 0"


def new_board(uid: str, title: str, *, has_run: bool = True) -> dashboard.Dashboard:
    """Return an empty dashboard with the variables data source, job and, if wanted, run."""
    board = (
        dashboard.Dashboard(title)
        .uid(uid)
        .tags(["watchkeeper", "training"])
        .readonly()
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(_labels("training_job", "training_run_info", "Job"))
    )
    if has_run:
        by_job = 'training_run_info{training_job=~"$training_job"}'
        board = board.with_variable(_labels("run", by_job, "Run"))
    return board.link(
        dashboard.DashboardLink("Watchkeeper")
        .type(DashboardLinkType.DASHBOARDS)
        .tags(["watchkeeper"])
    )


def _labels(name: str, series: str, label: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(f"label_values({series}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .hide(VariableHide.DONT_HIDE)
        .multi(True)
        .include_all(True)
        .all_value(".*")
    )
