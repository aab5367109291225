"""Series that several alerts and panels need, computed once.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from deploy.rules.catalogue import Recording

_WINDOWS = ("5m", "30m", "1h", "6h")


def badput(window: str) -> str:
    """Return the name of the share of wall time that was not productive over a window."""
    return f"training_job_run:training_badput_per_time:ratio_rate{window}"


def _badput(window: str) -> Recording:
    productive = f'training_time_seconds_total{{category="productive"}}[{window}]'
    return Recording(
        record=badput(window),
        expr=(
            f"1 - sum by (training_job, run) (rate({productive})) / "
            f"sum by (training_job, run) (rate(training_time_seconds_total[{window}]))"
        ),
        why=f"share of the last {window} that was not spent on steps that count",
    )


RECORDINGS: tuple[Recording, ...] = (
    *(_badput(window) for window in _WINDOWS),
    Recording(
        record="training_job_run:training_samples:rate5m",
        expr="sum by (training_job, run) (rate(training_samples_total[5m]))",
        why="samples a second, repeated steps included",
    ),
    Recording(
        record="training_job_run:training_steps:rate5m",
        expr="sum by (training_job, run) (rate(training_steps_total[5m]))",
        why="optimizer steps a second, repeated steps included",
    ),
)
