"""The ranks of a run: who is slow, who is silent.

Runs in: anywhere (pure); needs grafana-foundation-sdk, a development tool.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from deploy.dashboards.board import OF_RUN, new_board
from deploy.dashboards.panels import Query, lines, number, ranking


def build() -> dashboard.Dashboard:
    """Return the dashboard of a run's ranks."""
    step_s = f"training_rank_step_duration_seconds{{{OF_RUN}}}"
    return (
        new_board("watchkeeper-ranks", "Watchkeeper / Ranks")
        .with_panel(
            number(
                "Workers heard of",
                "Ranks heard of as recently as their step time lets expect.",
                f"training_workers_running{{{OF_RUN}}}",
                span=6,
                unit="none",
            )
        )
        .with_panel(
            number(
                "Workers started",
                "Workers the attempt was started with.",
                f"training_workers_desired{{{OF_RUN}}}",
                span=6,
                unit="none",
            )
        )
        .with_panel(
            number(
                "Slowest to median",
                "1 is perfect balance.",
                f"training_straggler_ratio{{{OF_RUN}}}",
                span=6,
                limits=((1.25, "orange"), (1.5, "red")),
            )
        )
        .with_panel(
            number(
                "Ranks not shown",
                "Above 256 ranks only the slowest and the most silent are exported.",
                f"training_ranks_hidden{{{OF_RUN}}}",
                span=6,
                unit="none",
            )
        )
        .with_panel(
            ranking(
                "Slowest ranks",
                "Mean time of a step, the eight slowest.",
                [Query(f"topk(8, {step_s})", "{{run}} rank {{rank}}")],
            )
        )
        .with_panel(
            ranking(
                "Most silent ranks",
                "Time since the rank was heard of, the eight longest.",
                [
                    Query(
                        f"topk(8, time() - training_rank_heartbeat_timestamp_seconds{{{OF_RUN}}})",
                        "{{run}} rank {{rank}}",
                    )
                ],
            )
        )
        .with_panel(
            lines(
                "Time of a step",
                "By rank.",
                [Query(step_s, "rank {{rank}}")],
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Steps behind",
                "How far each rank is behind the foremost.",
                [
                    Query(
                        f"max without (rank) (training_rank_step{{{OF_RUN}}}) "
                        f"- ignoring (rank) group_right () training_rank_step{{{OF_RUN}}}",
                        "rank {{rank}}",
                    )
                ],
            )
        )
    )
