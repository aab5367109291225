"""A frozen view of the watchdog's own state, for the exporter, the progress bar and `status`.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from watchdog.latency import Histogram
from watchdog.records import Cause


class RankView(NamedTuple):
    """What is known of one rank: its last step, when it was heard (Unix s), its mean step time."""

    step: int
    last_t_s: float
    step_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counters are over the whole run, all attempts; times are Unix seconds; None is unknown."""

    run_id: str = ""
    job: str = ""
    state: str = "pending"  # a phase of the run, see STATES
    attempt: int = 0
    generation: int = 0
    step: int = 0
    max_steps: int = 0
    world_size: int = 0
    started_t_s: float | None = None
    loss: float | None = None  # last finite, mean over ranks
    loss_is_finite: bool = True
    loss_baseline: float | None = None
    loss_threshold: float | None = None
    grad_norm: float | None = None  # last finite
    lr: float | None = None
    lr_scale: float = 1.0
    epoch: float | None = None
    val_loss: float | None = None
    val_metric: float | None = None
    best_val_metric: float | None = None
    last_record_t_s: float | None = None
    last_step_t_s: float | None = None
    last_tick_t_s: float | None = None
    ranks: Mapping[int, RankView] = field(default_factory=dict)
    steps_total: int = 0  # including repeated ones
    steps_lost: int = 0
    steps_skipped: int = 0  # optimizer steps not applied by the reflex
    samples_total: int = 0
    incidents: Mapping[Cause, int] = field(default_factory=dict)  # opened, by cause
    suspicions: Mapping[Cause, int] = field(default_factory=dict)
    open_incident: str | None = None
    detection_s: Mapping[Cause, Histogram] = field(default_factory=dict)  # fault to verdict
    recovery_s: Mapping[Cause, Histogram] = field(default_factory=dict)  # verdict to healthy step
    rollbacks: int = 0
    restarts: Mapping[str, int] = field(default_factory=dict)  # by cause
    verdicts: Mapping[str, int] = field(default_factory=dict)  # by action
    last_verdict_reason: str | None = None
    checkpoint_step: int | None = None  # last durable
    checkpoint_t_s: float | None = None
    checkpoint_interval_s: float | None = None  # longest of the last few between two durable
    checkpoint_seconds: float | None = None
    checkpoint_size_bytes: int | None = None
    checkpoint_failures: int = 0
    trusted_step: int | None = None  # newest trusted checkpoint, durable or memory
    hard_samples: tuple[int, ...] = ()  # indices; their batch spikes each epoch, or cost a rollback
    time_s: Mapping[str, float] = field(default_factory=dict)  # wall time by goodput category
    recovery_time_s: Mapping[Cause, float] = field(default_factory=dict)  # sums to its category
    goodput_ratio: float | None = None
    goodput_objective: float | None = None
    hang_timeout_s: float | None = None  # silence tolerated in the present phase
    records_total: int = 0
    records_dropped: int = 0
    detectors_disabled: tuple[str, ...] = ()


#: The states a run can be in, in the order of a life; exported as a 0/1 state set.
STATES: tuple[str, ...] = (
    "pending",
    "starting",
    "running",
    "recovering",
    "restarting",
    "finished",
    "stopped",
    "halted",
    "failed",
)

TERMINAL_STATES: frozenset[str] = frozenset({"finished", "stopped", "halted", "failed"})
