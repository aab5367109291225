"""All runs at a glance.

Runs in: anywhere (pure); needs grafana-foundation-sdk, a development tool.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from deploy.dashboards.board import OF_JOB, increase, new_board
from deploy.dashboards.panels import Query, bars, lines, number, states


def build() -> dashboard.Dashboard:
    """Return the dashboard of all runs."""
    return (
        new_board("watchkeeper-fleet", "Watchkeeper / Fleet", has_run=False)
        .with_panel(
            number(
                "Runs in training",
                "Runs that take steps now.",
                f'sum(training_run_state{{{OF_JOB},training_run_state="running"}})',
            )
        )
        .with_panel(
            number(
                "Recovering or restarting",
                "Runs that the watchdog is healing now.",
                f'sum(training_run_state{{{OF_JOB},training_run_state=~"recovering|restarting"}})',
                limits=((1, "orange"),),
            )
        )
        .with_panel(
            number(
                "Halted or failed",
                "Runs that need a person; they vanish some minutes after their end.",
                f'sum(training_run_state{{{OF_JOB},training_run_state=~"halted|failed"}})',
                limits=((1, "red"),),
            )
        )
        .with_panel(
            number(
                "Workers",
                "Workers heard of, over all runs.",
                f"sum(training_workers_running{{{OF_JOB}}})",
            )
        )
        .with_panel(
            number(
                "Goodput",
                "Productive share of the wall time, mean over the runs.",
                f"avg(training_goodput_ratio{{{OF_JOB}}})",
                unit="percentunit",
            )
        )
        .with_panel(
            number(
                "Incidents today",
                "Incidents opened within 24 hours; most are healed by the watchdog.",
                f"round(sum(increase(training_incidents_total{{{OF_JOB}}}[24h])))",
            )
        )
        .with_panel(
            states(
                "What each run is doing",
                "The state of each run over time.",
                OF_JOB,
            )
        )
        .with_panel(
            lines(
                "Progress",
                "Share of the planned steps.",
                [Query(f"training_step{{{OF_JOB}}} / training_target_step{{{OF_JOB}}}", "{{run}}")],
                unit="percentunit",
            )
        )
        .with_panel(
            lines(
                "Loss",
                "Last finite training loss of each run.",
                [Query(f"training_loss{{{OF_JOB}}}", "{{run}}")],
                is_log=True,
            )
        )
        .with_panel(
            bars(
                "Incidents by cause",
                "Incidents opened in each interval.",
                [
                    Query(
                        increase("training_incidents_total", "cause", OF_JOB),
                        "{{cause}}",
                    )
                ],
            )
        )
        .with_panel(
            lines(
                "Throughput",
                "Samples a second, repeated steps included.",
                [
                    Query(
                        f"training_job_run:training_samples:rate5m{{{OF_JOB}}}",
                        "{{run}}",
                    )
                ],
            )
        )
    )
