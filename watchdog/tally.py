"""Counters and last values of a run, for the snapshot; nothing here decides anything.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from watchdog.interventions import Conclusion
from watchdog.records import (
    Action,
    AttemptEnded,
    AttemptStarted,
    CheckpointFailed,
    CheckpointSaved,
    EvalReport,
    LedgerKind,
    Record,
    RollbackDone,
    RunEnded,
    RunStarted,
    StepReport,
    Storage,
    Tick,
    Verdict,
)
from watchdog.snapshot import TERMINAL_STATES, RankView

#: Chosen: ranks are bounded by the world size once that is known; until then by this.
_MAX_RANKS = 65536
#: Chosen: the longest of so many is the usual distance; one long recovery is soon forgotten.
_INTERVALS = 8


class Tally:
    """The fields of a snapshot that are counted or copied from records that count.

    `values` holds them by their name in `Snapshot`.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {"state": "pending"}
        self._counts: Counter[str] = Counter()
        self._incidents: Counter[Any] = Counter()
        self._suspicions: Counter[Any] = Counter()
        self._restarts: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._ranks: dict[int, RankView] = {}
        self._has_new_ranks = False
        self._world_size = 0
        self._newest_step = 0
        self._skipped_step = 0
        self._metrics: deque[tuple[int, float]] = deque(maxlen=1024)
        self._intervals_s: deque[float] = deque(maxlen=_INTERVALS)

    def arrived(self, record: Record, *, is_dropped: bool) -> None:
        """Count any record, whether it counts or not."""
        self._counts["records_total"] += 1
        if is_dropped:
            self._counts["records_dropped"] += 1
        if math.isfinite(record.t_s):
            name = "last_tick_t_s" if isinstance(record, Tick) else "last_record_t_s"
            self.values[name] = record.t_s

    def accepted(self, record: Record) -> None:
        """Copy what a record that counts says."""
        match record:
            case StepReport():
                self._step(record)
            case EvalReport():
                self._validation(record)
            case CheckpointSaved():
                self._checkpoint(record)
            case CheckpointFailed():
                self._counts["checkpoint_failures"] += 1
            case RollbackDone():
                self._rewound(record.restored_step)
                self._counts["rollbacks"] += 1
                self.values["state"] = "recovering"
            case AttemptStarted():
                self._attempt_started(record)
            case RunStarted() | AttemptEnded() | RunEnded():
                self._phase(record)
            case _:
                pass

    def concluded(self, conclusions: Iterable[Conclusion]) -> None:
        """Count incidents, suspicions and verdicts."""
        for conclusion in conclusions:
            if isinstance(conclusion, Verdict):
                self._verdict(conclusion)
            elif conclusion.kind is LedgerKind.INCIDENT_OPENED:
                self._incidents[conclusion.data["cause"]] += 1
            elif conclusion.kind is LedgerKind.SUSPECT and conclusion.data["status"] == "open":
                self._suspicions[conclusion.data["cause"]] += 1

    def fields(self) -> dict[str, Any]:
        """Return the snapshot's fields, detached from what goes on counting."""
        metrics = [value for _, value in self._metrics]
        return {
            **self.values,
            **self._counts,
            "best_val_metric": max(metrics, default=None),
            "ranks": dict(self._sorted_ranks()),
            "incidents": dict(self._incidents),
            "suspicions": dict(self._suspicions),
            "restarts": dict(self._restarts),
            "verdicts": dict(self._verdicts),
        }

    def _step(self, report: StepReport) -> None:
        counts, values = self._counts, self.values
        counts["samples_total"] += max(0, report.samples)
        if values["state"] not in TERMINAL_STATES:
            values["state"] = "running"
        if not report.is_applied and report.step > self._skipped_step:
            self._skipped_step = report.step
            counts["steps_skipped"] += 1
        if report.step > self._newest_step:
            self._newest_step = report.step
            counts["steps_total"] += 1
            values["last_step_t_s"] = report.t_s
        if report.grad_norm is not None and math.isfinite(report.grad_norm):
            values["grad_norm"] = report.grad_norm
        if report.lr is not None and math.isfinite(report.lr):
            values["lr"] = report.lr
        if report.epoch is not None and math.isfinite(report.epoch):
            values["epoch"] = report.epoch
        if report.rank < (self._world_size or _MAX_RANKS):
            self._rank(report)

    def _rank(self, report: StepReport) -> None:
        """Note where a rank is; its step time is an exponential mean over some ten steps."""
        known, step_s = self._ranks.get(report.rank), report.step_s
        if step_s is not None and not math.isfinite(step_s):
            step_s = None
        if known is None:
            self._has_new_ranks = True
        elif known.step_s is not None:
            step_s = known.step_s if step_s is None else 0.9 * known.step_s + 0.1 * step_s
        self._ranks[report.rank] = RankView(report.step, report.t_s, step_s)

    def _sorted_ranks(self) -> dict[int, RankView]:
        """Return the ranks in order; sorted once for thousands of them, not at each scrape."""
        if self._has_new_ranks:
            self._ranks = dict(sorted(self._ranks.items()))
            self._has_new_ranks = False
        return self._ranks

    def _validation(self, record: EvalReport) -> None:
        for name in ("val_loss", "val_metric"):
            value = getattr(record, name)
            if value is not None and math.isfinite(value):
                self.values[name] = value
        metric = record.val_metric
        best = self._metrics[-1][1] if self._metrics else -math.inf
        if metric is not None and math.isfinite(metric) and metric > best:
            self._metrics.append((record.step, metric))

    def _checkpoint_interval(self, t_s: float) -> None:
        last_t_s = self.values.get("checkpoint_t_s")
        if last_t_s is not None and math.isfinite(t_s) and t_s > last_t_s:
            self._intervals_s.append(t_s - last_t_s)
            self.values["checkpoint_interval_s"] = max(self._intervals_s)

    def _checkpoint(self, record: CheckpointSaved) -> None:
        if record.storage is Storage.DURABLE:
            self._checkpoint_interval(record.t_s)
            self.values["checkpoint_step"] = record.step
            self.values["checkpoint_t_s"] = record.t_s
            self.values["checkpoint_seconds"] = record.seconds
            self.values["checkpoint_size_bytes"] = record.size_bytes

    def _attempt_started(self, record: AttemptStarted) -> None:
        if record.attempt == 0:
            # Another rank's first reports may overtake this record; the first start loses none.
            self._newest_step = record.restored_step
        self._rewound(record.restored_step)
        self._world_size = max(1, record.world_size)
        self._ranks.clear()
        self.values["world_size"] = record.world_size
        self.values["state"] = "starting"

    def _phase(self, record: RunStarted | AttemptEnded | RunEnded) -> None:
        match record:
            case RunStarted():
                self.values["run_id"], self.values["job"] = record.run_id, record.job
                self.values["max_steps"] = record.max_steps
                self.values.setdefault("started_t_s", record.t_s)
                self.values["state"] = "starting"
            case AttemptEnded():
                pass  # what follows is told by the verdict, or by the end of the run
            case RunEnded():
                is_known = record.state in TERMINAL_STATES
                self.values["state"] = record.state if is_known else "failed"

    def _rewound(self, restored_step: int) -> None:
        """Best metrics of superseded steps are gone; steps beyond are counted again."""
        self._counts["steps_lost"] += max(0, self._newest_step - restored_step)
        self._newest_step = restored_step
        self._skipped_step = restored_step
        while self._metrics and self._metrics[-1][0] > restored_step:
            self._metrics.pop()

    def _verdict(self, verdict: Verdict) -> None:
        self._verdicts[verdict.action.value] += 1
        self.values["last_verdict_reason"] = verdict.reason
        if verdict.action is Action.RESTART:
            self._restarts[verdict.cause.value] += 1
            self.values["state"] = "restarting"
        elif verdict.action is Action.ROLLBACK:
            self.values["state"] = "recovering"
