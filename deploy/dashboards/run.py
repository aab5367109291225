"""One run: its progress, its numbers, what was concluded.

Runs in: anywhere (pure); needs grafana-foundation-sdk, a development tool.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from deploy.dashboards.board import OF_RUN, RATE, increase, new_board
from deploy.dashboards.panels import Query, bars, lines, number, states
from deploy.rules.render import DASHBOARD_UID


def build() -> dashboard.Dashboard:
    """Return the dashboard of one run."""
    return (
        new_board(DASHBOARD_UID, "Watchkeeper / Run")
        .with_panel(
            number("Step", "Last optimizer step.", f"training_step{{{OF_RUN}}}", unit="none")
        )
        .with_panel(
            number(
                "Progress",
                "Share of the planned steps.",
                f"training_step{{{OF_RUN}}} / training_target_step{{{OF_RUN}}}",
                unit="percentunit",
            )
        )
        .with_panel(
            number(
                "Last step",
                "Time since the last optimizer step.",
                f"time() - training_last_step_timestamp_seconds{{{OF_RUN}}}",
                unit="s",
                limits=((60, "orange"), (300, "red")),
            )
        )
        .with_panel(
            number(
                "Goodput",
                "Productive share of the wall time so far.",
                f"training_goodput_ratio{{{OF_RUN}}}",
                unit="percentunit",
            )
        )
        .with_panel(
            number(
                "Open incident",
                "1 while an incident is open.",
                f"training_incident_open{{{OF_RUN}}}",
                unit="none",
                limits=((1, "red"),),
            )
        )
        .with_panel(
            number(
                "Metric, best so far",
                "Best validation metric; higher is better.",
                f"training_validation_metric_best{{{OF_RUN}}}",
            )
        )
        .with_panel(
            lines(
                "Loss and its band",
                "Loss, the level it is judged from, and the threshold of suspicion.",
                [
                    Query(f"training_loss{{{OF_RUN}}}", "loss {{run}}"),
                    Query(f"training_loss_baseline{{{OF_RUN}}}", "forecast {{run}}"),
                    Query(f"training_loss_spike_threshold{{{OF_RUN}}}", "suspicion {{run}}"),
                    Query(f"training_validation_loss{{{OF_RUN}}}", "validation {{run}}"),
                ],
                is_log=True,
            )
        )
        .with_panel(
            lines(
                "Validation metric",
                "Higher is better.",
                [Query(f"training_validation_metric{{{OF_RUN}}}", "{{run}}")],
            )
        )
        .with_panel(
            lines(
                "Learning rate",
                "Rate of the last step, with the watchdog's multiplier in it.",
                [Query(f"training_learning_rate{{{OF_RUN}}}", "{{run}}")],
                is_log=True,
                unit="sci",
            )
        )
        .with_panel(
            lines(
                "Gradient norm",
                "Last finite global norm before clipping.",
                [Query(f"training_gradient_norm{{{OF_RUN}}}", "{{run}}")],
                unit="sishort",
                is_log=True,
            )
        )
        .with_panel(
            bars(
                "Suspicions and incidents",
                "Suspicions that heal are never acted on.",
                [
                    Query(
                        increase("training_suspicions_total", "cause"),
                        "suspected {{cause}}",
                    ),
                    Query(
                        increase("training_incidents_total", "cause"),
                        "incident {{cause}}",
                    ),
                ],
            )
        )
        .with_panel(
            bars(
                "Verdicts",
                "What the watchdog ordered.",
                [
                    Query(
                        increase("training_watchdog_verdicts_total", "action"),
                        "{{action}}",
                    )
                ],
            )
        )
        .with_panel(
            lines(
                "Steps a second",
                "Optimizer steps, those repeated after a rollback included.",
                [Query(f"rate(training_steps_total{{{OF_RUN}}}[{RATE}])", "{{run}}")],
            )
        )
        .with_panel(
            states(
                "State",
                "What the run was doing when.",
                OF_RUN,
                span=12,
            )
        )
    )
