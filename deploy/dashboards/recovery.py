"""Where the time goes, and what recoveries cost.

Runs in: anywhere (pure); needs grafana-foundation-sdk, a development tool.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from deploy.dashboards.board import OF_RUN, RATE, increase, new_board
from deploy.dashboards.panels import Query, bars, lines, number, ranking, rows, shares
from deploy.rules.recording import badput
from watchdog.goodput import Category

_TIME = f"rate(training_time_seconds_total{{{OF_RUN}}}[{RATE}])"
_CATEGORY_COLORS: tuple[tuple[str, str], ...] = (
    (Category.PRODUCTIVE, "green"),
    (Category.STARTUP, "blue"),
    (Category.RESOURCES, "semi-dark-blue"),
    (Category.RECOVERY, "red"),
    (Category.REDONE_STEPS, "orange"),
    (Category.CHECKPOINT_STALL, "purple"),
    (Category.DATA_STALL, "yellow"),
    (Category.VALIDATION, "light-blue"),
    (Category.OTHER, "#8e8e8e"),
)
_DETECTION = "training_watchdog_detection_latency_seconds"
_RECOVERY = "training_watchdog_recovery_duration_seconds"


def _quantile(histogram: str) -> str:
    return f"histogram_quantile(0.95, sum by (le) ({histogram}_bucket{{{OF_RUN}}}))"


def _mean(histogram: str, by: str = "") -> str:
    """Return the mean of a histogram; no result where nothing has been counted yet."""
    count = f"sum by ({by}) ({histogram}_count{{{OF_RUN}}}) > 0"
    return f"sum by ({by}) ({histogram}_sum{{{OF_RUN}}}) / ({count})"


def build() -> dashboard.Dashboard:
    """Return the dashboard of recovery and goodput."""
    return (
        new_board("watchkeeper-recovery", "Watchkeeper / Recovery and goodput")
        .with_panel(
            shares(
                "Where the time goes",
                "Share of wall time by category; only `productive` is goodput.",
                Query(f"sum by (category) ({_TIME}) / scalar(sum({_TIME}))", "{{category}}"),
                _CATEGORY_COLORS,
            )
        )
        .with_panel(
            number(
                "Found within",
                "95 of 100 incidents: first bad step, or last sign of progress, to verdict.",
                _quantile(_DETECTION),
                unit="s",
                span=6,
                has_trend=False,
            )
        )
        .with_panel(
            number(
                "Training again within",
                "95 of 100 verdicts: to the first healthy step after the recovery.",
                _quantile(_RECOVERY),
                unit="s",
                span=6,
                has_trend=False,
            )
        )
        .with_panel(
            number(
                "Mean time to detect",
                "Over all incidents of the runs shown.",
                _mean(_DETECTION),
                unit="s",
                span=6,
                has_trend=False,
            )
        )
        .with_panel(
            number(
                "Mean time to recover",
                "Over all recoveries of the runs shown.",
                _mean(_RECOVERY),
                unit="s",
                span=6,
                has_trend=False,
            )
        )
        .with_panel(
            ranking(
                "Mean time to detect, by cause",
                "A plateau is as old as the steps it is told from.",
                [Query(_mean(_DETECTION, by="cause"), "{{cause}}")],
            )
        )
        .with_panel(
            ranking(
                "Mean time to recover, by cause",
                "A rollback in place takes milliseconds, a restart seconds.",
                [Query(_mean(_RECOVERY, by="cause"), "{{cause}}")],
            )
        )
        .with_panel(
            ranking(
                "Time spent on recovery, by cause",
                "From when training stopped to the next step; sums to `recovery` above.",
                [
                    Query(
                        f"sum by (cause) (training_recovery_seconds_total{{{OF_RUN}}}) > 0",
                        "{{cause}}",
                    )
                ],
                span=24,
            )
        )
        .with_panel(
            lines(
                "Badput against its budget",
                "Share of time that was not productive, over an hour and over five minutes.",
                [
                    Query(f"{badput('1h')}{{{OF_RUN}}}", "1 h {{run}}"),
                    Query(f"{badput('5m')}{{{OF_RUN}}}", "5 min {{run}}"),
                    Query(f"1 - training_goodput_objective_ratio{{{OF_RUN}}}", "allowed {{run}}"),
                ],
                unit="percentunit",
            )
        )
        .with_panel(
            bars(
                "Rollbacks and restarts",
                "Rollbacks in place, and restarts by their cause.",
                [
                    Query(increase("training_rollbacks_total", "run"), "in place"),
                    Query(
                        increase("training_run_restarts_total", "reason"),
                        "{{reason}}",
                    ),
                ],
            )
        )
        .with_panel(
            lines(
                "Steps lost and skipped",
                "Over the whole run.",
                [
                    Query(f"training_steps_lost_total{{{OF_RUN}}}", "lost {{run}}"),
                    Query(f"training_steps_skipped_total{{{OF_RUN}}}", "skipped {{run}}"),
                ],
            )
        )
        .with_panel(
            lines(
                "Age of the last durable checkpoint",
                "And the usual distance between two of them.",
                [
                    Query(
                        f"time() - training_checkpoint_last_success_timestamp_seconds{{{OF_RUN}}}",
                        "age {{run}}",
                    ),
                    Query(f"training_checkpoint_interval_seconds{{{OF_RUN}}}", "usual {{run}}"),
                ],
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Trusted behind newest",
                "Steps between the last step and the newest checkpoint that may be restored.",
                [
                    Query(
                        f"training_step{{{OF_RUN}}} - training_checkpoint_trusted_step{{{OF_RUN}}}",
                        "{{run}}",
                    )
                ],
            )
        )
        .with_panel(
            lines(
                "Saving a checkpoint",
                "Time the last durable one took, off the step's path.",
                [Query(f"training_checkpoint_last_duration_seconds{{{OF_RUN}}}", "{{run}}")],
                unit="s",
            )
        )
        .with_panel(
            rows(
                "Incidents of the run",
                "Incidents by cause, over the whole run.",
                [Query(f"sum by (run, cause) (training_incidents_total{{{OF_RUN}}}) > 0", "")],
            )
        )
    )
