"""What a snapshot says in the words of the metrics catalogue, as plain numbers.

Unknown is absent, not zero; NaN and infinity are never a value. Every counter has a sample for
every value of its label from the start, so that `increase()` sees the first event.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from statistics import median

from watchdog.goodput import Category
from watchdog.latency import Histogram
from watchdog.metrics import MAX_RANKS
from watchdog.records import WATCHED_CAUSES, Action, Cause
from watchdog.snapshot import STATES, RankView, Snapshot


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one family; `labels` are the family's own, without those of the run."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Durations:
    """The durations of one histogram family for one value of its own label."""

    name: str
    label: str
    histogram: Histogram


#: Causes that can become an incident; the others are only ever suspected.
_ACTED_ON = (Cause.STALL, *(cause for cause in Cause if cause not in WATCHED_CAUSES))

#: A rank is missing when it is this much more silent than the rank heard last: so many of its own
#: steps, and never less than the seconds below.
#: Chosen: ranks step together, so one that lags ten steps is not in the group any more; 30 s keeps
#: a rank that validates longer than the others from flapping.
SILENT_STEPS = 10
SILENT_MIN_S = 30.0

_ACTIVE_STATES = frozenset({"running", "recovering"})


def samples(snapshot: Snapshot) -> Iterator[Sample]:
    """Yield every sample of the run, in no particular order; all values are finite.

    Before the run has a name there is nothing to say.
    """
    if not snapshot.run_id:
        return
    for sample in _all_samples(snapshot):
        if math.isfinite(sample.value):
            yield sample


def durations(snapshot: Snapshot) -> Iterator[Durations]:
    """Yield the histograms of the run, an empty one for every cause that has not occurred."""
    if not snapshot.run_id:
        return
    for name, found in (
        ("detection_latency", snapshot.detection_s),
        ("recovery_duration", snapshot.recovery_s),
    ):
        for cause in dict.fromkeys((*_ACTED_ON, *found)):
            histogram = found.get(cause, Histogram())
            yield Durations(f"training_watchdog_{name}_seconds", cause.value, histogram)


def _all_samples(snapshot: Snapshot) -> Iterator[Sample]:
    yield from _states(snapshot)
    yield from _gauges(snapshot)
    yield from _counters(snapshot)
    yield from _labelled_counters(snapshot)
    yield from _ranks(snapshot)


def _states(snapshot: Snapshot) -> Iterator[Sample]:
    # A state that this version does not know is shown too: exactly one must be 1.
    for state in dict.fromkeys((*STATES, snapshot.state)):
        yield Sample("training_run_state", float(state == snapshot.state), (state,))
    attributes = (str(snapshot.world_size), str(snapshot.attempt))
    yield Sample("training_run_info", 1.0, attributes)


def _gauges(s: Snapshot) -> Iterator[Sample]:
    values: Mapping[str, float | None] = {
        "run_start_timestamp_seconds": s.started_t_s,
        "run_attempt": s.attempt,
        "workers_desired": s.world_size,
        "workers_running": _workers_running(s),
        "step": s.step,
        "target_step": s.max_steps,
        "epoch": s.epoch,
        "last_step_timestamp_seconds": s.last_step_t_s,
        "last_record_timestamp_seconds": s.last_record_t_s,
        "goodput_ratio": s.goodput_ratio,
        "goodput_objective_ratio": s.goodput_objective,
        "hang_timeout_seconds": s.hang_timeout_s,
        "loss": s.loss,
        "loss_finite": s.loss_is_finite,
        "loss_baseline": s.loss_baseline,
        "loss_spike_threshold": s.loss_threshold,
        "validation_loss": s.val_loss,
        "validation_metric": s.val_metric,
        "validation_metric_best": s.best_val_metric,
        "learning_rate": s.lr,
        "learning_rate_scale_ratio": s.lr_scale,
        "gradient_norm": s.grad_norm,
        "incident_open": s.open_incident is not None,
        "checkpoint_last_success_timestamp_seconds": s.checkpoint_t_s,
        "checkpoint_last_success_step": s.checkpoint_step,
        "checkpoint_interval_seconds": s.checkpoint_interval_s,
        "checkpoint_last_duration_seconds": s.checkpoint_seconds,
        "checkpoint_size_bytes": s.checkpoint_size_bytes,
        "checkpoint_trusted_step": s.trusted_step,
        "straggler_ratio": _straggler_ratio(s.ranks.values()),
        "ranks_hidden": max(0, len(s.ranks) - MAX_RANKS),
        "watchdog_last_tick_timestamp_seconds": s.last_tick_t_s,
        "watchdog_detectors_disabled": len(s.detectors_disabled),
    }
    for name, value in values.items():
        if value is not None:
            yield Sample(f"training_{name}", float(value))


def _counters(s: Snapshot) -> Iterator[Sample]:
    values: Mapping[str, int] = {
        "steps": s.steps_total,
        "steps_lost": s.steps_lost,
        "steps_skipped": s.steps_skipped,
        "samples": s.samples_total,
        # The reflex skips a step for this one reason, so the two counts are one quantity.
        "nonfinite": s.steps_skipped,
        "rollbacks": s.rollbacks,
        "checkpoint_failures": s.checkpoint_failures,
    }
    for name, value in values.items():
        yield Sample(f"training_{name}_total", float(value))


def _labelled_counters(s: Snapshot) -> Iterator[Sample]:
    # Waiting time has no explanation yet: it will move to another category, and a counter may not.
    explained = {k: v for k, v in s.time_s.items() if k != Category.WAITING}
    categories = [c for c in Category if c is not Category.WAITING]
    reports = {"accepted": s.records_total, "dropped": s.records_dropped}
    tables: Mapping[str, tuple[Iterable[str], Mapping[str, float]]] = {
        "run_restarts": (Cause, s.restarts),
        "suspicions": (Cause, _by_text(s.suspicions)),
        "incidents": (Cause, _by_text(s.incidents)),
        "time_seconds": (categories, explained),
        "recovery_seconds": (_ACTED_ON, _by_text(s.recovery_time_s)),
        "watchdog_reports": (reports, reports),
        "watchdog_verdicts": (Action, s.verdicts),
    }
    for name, (known, counts) in tables.items():
        for label in dict.fromkeys([*map(str, known), *map(str, counts)]):
            yield Sample(f"training_{name}_total", float(counts.get(label, 0)), (label,))


def _by_text(counts: Mapping[Cause, float]) -> dict[str, float]:
    return {str(cause): float(count) for cause, count in counts.items()}


def _ranks(snapshot: Snapshot) -> Iterator[Sample]:
    for rank, view in exported_ranks(snapshot.ranks).items():
        label = (str(rank),)
        yield Sample("training_rank_step", float(view.step), label)
        yield Sample("training_rank_heartbeat_timestamp_seconds", view.last_t_s, label)
        if view.step_s is not None:
            yield Sample("training_rank_step_duration_seconds", view.step_s, label)


def exported_ranks(
    ranks: Mapping[int, RankView], max_ranks: int = MAX_RANKS
) -> dict[int, RankView]:
    """Return the ranks that get series of their own, by rank.

    All of them up to `max_ranks`; above it, half the places go to the most silent and the rest to
    the slowest, because these are the ones that somebody looks for.
    """
    if len(ranks) <= max_ranks:
        return dict(sorted(ranks.items()))
    kept = set(nsmallest(max_ranks // 2, ranks, key=lambda rank: (ranks[rank].last_t_s, rank)))
    slowest = nsmallest(max_ranks, ranks, key=lambda rank: (-(ranks[rank].step_s or 0.0), rank))
    kept.update([rank for rank in slowest if rank not in kept][: max_ranks - len(kept)])
    return {rank: ranks[rank] for rank in sorted(kept)}


def _workers_running(snapshot: Snapshot) -> int:
    """Return how many ranks are heard of.

    Silence is measured against the rank heard last, not against a clock: when the whole group is
    silent nobody is missing from it, and the age of the last step tells that story.
    """
    if snapshot.state not in _ACTIVE_STATES or not snapshot.ranks:
        return 0
    newest_s = max(view.last_t_s for view in snapshot.ranks.values())
    return sum(
        newest_s - view.last_t_s <= max(SILENT_MIN_S, SILENT_STEPS * (view.step_s or 0.0))
        for view in snapshot.ranks.values()
    )


def _straggler_ratio(views: Iterable[RankView]) -> float | None:
    durations_s = [view.step_s for view in views if view.step_s is not None and view.step_s > 0]
    return max(durations_s) / median(durations_s) if durations_s else None
