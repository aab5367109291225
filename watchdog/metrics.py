"""The catalogue of exported metrics: the one place where a name, a type, a label or a help is set.

The exporter serves what stands here and nothing else, and `docs/METRICS.md` is generated from it:
`python -m watchdog.metrics > docs/METRICS.md`.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class MetricType(StrEnum):
    """Types of the OpenMetrics specification."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"
    STATESET = "stateset"


#: Every series of a run carries these. Never `job`: Prometheus renames it to `exported_job`.
RUN_LABELS: tuple[str, ...] = ("training_job", "run")

#: Above this many ranks only the slowest and the most silent are exported one by one.
#: Chosen: three families a rank, so 768 series a run at most; OPERATIONS counts 10,000 as a limit.
MAX_RANKS = 256


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its full name as in a query, its type, its own labels, and its help."""

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    is_of_run: bool = True

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Return the labels in the order of a sample's label values."""
        return (*RUN_LABELS, *self.labels) if self.is_of_run else self.labels

    @property
    def base_name(self) -> str:
        """Return the name without the suffix that its type adds in the exposition."""
        suffix = {MetricType.COUNTER: "_total", MetricType.INFO: "_info"}.get(self.type, "")
        return self.name.removesuffix(suffix)

    @property
    def series_names(self) -> tuple[str, ...]:
        """Return the names under which a query finds it."""
        suffixes = ("_bucket", "_sum", "_count") if self.type is MetricType.HISTOGRAM else ("",)
        return tuple(self.name + suffix for suffix in suffixes)


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(f"training_{name}", MetricType.GAUGE, text, labels)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(f"training_{name}_total", MetricType.COUNTER, text, labels)


_RUN = (
    Family(
        "training_run_info",
        MetricType.INFO,
        "Constant 1; attributes of a live run. Join with on(run) group_left().",
        ("world_size", "attempt"),
    ),
    Family(
        "training_run_state",
        MetricType.STATESET,
        "Lifecycle state of the run; exactly one state is 1.",
    ),
    _gauge("run_start_timestamp_seconds", "Unix time the run started."),
    _gauge("run_attempt", "Number of the current attempt, 0 for the first."),
    _counter("run_restarts", "Restarts of the worker group by the cause behind them.", "reason"),
    _gauge("workers_desired", "Workers the current attempt was started with."),
    _gauge("workers_running", "Workers heard of as recently as their step time lets expect."),
)

_PROGRESS = (
    _gauge("step", "Last optimizer step; falls when a rollback takes steps back."),
    _gauge("target_step", "Planned final optimizer step."),
    _gauge("epoch", "Passes over the training samples so far, with fractions."),
    _gauge("last_step_timestamp_seconds", "Unix time of the last optimizer step."),
    _gauge("last_record_timestamp_seconds", "Unix time of the newest record, ticks included."),
    _gauge("hang_timeout_seconds", "Silence the watchdog tolerates in the present phase."),
    _counter("steps", "Optimizer steps executed, including those repeated after a rollback."),
    _counter("steps_lost", "Steps thrown away by rollbacks and restarts."),
    _counter("steps_skipped", "Optimizer steps not applied because the gradients were not finite."),
    _counter("samples", "Samples consumed, including those of repeated steps."),
    _counter("time_seconds", "Explained wall time of the run by goodput category.", "category"),
    _counter("recovery_seconds", "The category `recovery` by what it was from.", "cause"),
    _gauge("goodput_ratio", "Productive time over wall time, 0 to 1."),
    _gauge("goodput_objective_ratio", "Goodput that the job is meant to reach, 0 to 1."),
)

_HEALTH = (
    _gauge("loss", "Last finite training loss, mean over ranks."),
    _gauge("loss_finite", "1 if the last loss was finite, else 0."),
    _gauge("loss_baseline", "Robust running level of the loss that spikes are measured from."),
    _gauge("loss_spike_threshold", "Loss above which the watchdog suspects a spike."),
    _counter("nonfinite", "Steps whose loss or gradients were NaN or infinite on any rank."),
    _gauge("validation_loss", "Last finite validation loss."),
    _gauge("validation_metric", "Last finite validation metric; higher is better."),
    _gauge("validation_metric_best", "Best validation metric of the run so far."),
    _gauge("learning_rate", "Learning rate of the last step, the watchdog's multiplier included."),
    _gauge("learning_rate_scale_ratio", "Multiplier the watchdog has put on the learning rate."),
    _gauge("gradient_norm", "Last finite global gradient norm before clipping."),
    _counter(
        "suspicions", "Suspicions raised, by cause; most heal and are never acted on.", "cause"
    ),
    _counter("incidents", "Incidents opened, by cause.", "cause"),
    _gauge("incident_open", "1 while an incident is open, else 0."),
    _counter("rollbacks", "Rollbacks carried out in place."),
)

_CHECKPOINTS = (
    _gauge(
        "checkpoint_last_success_timestamp_seconds", "Unix time of the last durable checkpoint."
    ),
    _gauge("checkpoint_last_success_step", "Step of the last durable checkpoint."),
    _gauge("checkpoint_interval_seconds", "Longest recent time between two durable checkpoints."),
    _gauge("checkpoint_last_duration_seconds", "Time it took to save the last durable checkpoint."),
    _gauge("checkpoint_size_bytes", "Size of the last durable checkpoint."),
    _gauge("checkpoint_trusted_step", "Step of the newest trusted checkpoint, memory or durable."),
    _counter("checkpoint_failures", "Checkpoints that failed to save, verify or restore."),
)

_RANKS = (
    _gauge("rank_step", "Last step seen from the rank.", "rank"),
    _gauge("rank_heartbeat_timestamp_seconds", "Unix time the rank was last heard of.", "rank"),
    _gauge("rank_step_duration_seconds", "Moving mean of the rank's wall time of a step.", "rank"),
    _gauge("straggler_ratio", "Slowest over median step time of the ranks; 1 is perfect balance."),
    _gauge("ranks_hidden", f"Ranks not exported one by one because of the cap of {MAX_RANKS}."),
)

_WATCHDOG = (
    Family(
        "training_watchdog_build_info",
        MetricType.INFO,
        "Constant 1; version of the watchdog.",
        ("version",),
        is_of_run=False,
    ),
    Family(
        "training_watchdog_detection_latency_seconds",
        MetricType.HISTOGRAM,
        "Time from the first bad step, or the last sign of progress, to the incident's verdict.",
        ("cause",),
    ),
    Family(
        "training_watchdog_recovery_duration_seconds",
        MetricType.HISTOGRAM,
        "Time from a verdict to the first healthy step after it was carried out.",
        ("cause",),
    ),
    _gauge("watchdog_last_tick_timestamp_seconds", "Unix time of the watchdog's last tick."),
    _gauge("watchdog_detectors_disabled", "Detectors switched off because they raised."),
    _counter(
        "watchdog_reports", "Records from ranks and drivers by what became of them.", "outcome"
    ),
    _counter("watchdog_verdicts", "Verdicts by the action they ordered.", "action"),
)

_SECTIONS: Mapping[str, tuple[Family, ...]] = {
    "The run": _RUN,
    "Progress": _PROGRESS,
    "Health": _HEALTH,
    "Checkpoints": _CHECKPOINTS,
    "Ranks": _RANKS,
    "The watchdog itself": _WATCHDOG,
}

#: Every family that is exported, by its full name, in the order of the exposition.
CATALOGUE: Mapping[str, Family] = {
    family.name: family for section in _SECTIONS.values() for family in section
}

_INTRODUCTION = """\
# Metrics

Generated from `watchdog/metrics.py` by `python -m watchdog.metrics > docs/METRICS.md`; change it
there.

Unless a row says otherwise every series has the labels `training_job` and `run`. A quantity that is
not known is absent, never 0; NaN is never a value: the loss is the last finite one, and
`training_loss_finite` and `training_nonfinite_total` tell the rest. Counters start at 0 for every
value of their label, so that `increase()` sees the first event. The series of a run that has ended
stay for a grace, then vanish.

`training_time_seconds_total` counts explained time. Steps that a rollback throws away move from
`productive` to `redone_steps`; as a counter never falls, `productive` stands still until the run
has earned the difference again, so rates and their ratios are right from the rollback on.
"""


def markdown() -> str:
    """Return the text of `docs/METRICS.md`."""
    parts = [_INTRODUCTION]
    for title, families in _SECTIONS.items():
        rows = [f"| `{f.name}` | {f.type} | {_labels_cell(f)} | {f.help} |" for f in families]
        head = ["| name | type | own labels | meaning |", "| --- | --- | --- | --- |"]
        parts.append("\n".join([f"## {title}", "", *head, *rows, ""]))
    return "\n".join(parts)


def _labels_cell(family: Family) -> str:
    if family.type is MetricType.STATESET:
        return f"`{family.name}`"
    own = ", ".join(f"`{label}`" for label in family.labels)
    return own if family.is_of_run else f"{own} (no run labels)"


if __name__ == "__main__":
    sys.stdout.write(markdown())
