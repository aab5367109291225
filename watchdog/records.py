"""The facts the watchdog is told, one class each; plain data that survives JSON.

Time is data: every record carries `t_s` (Unix seconds, from the sender's clock), silence is found
from `Tick` records, and nothing in the judging half reads a clock. Unknown is `None`, never zero;
NaN is a value. The nouns of its conclusions (`causes`, `verdicts`, `ledger_entries`) can be had
from here too, so that who speaks with the watchdog needs one address.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from watchdog.causes import (
    HARMLESS_CAUSES,
    NUMERIC_CAUSES,
    SILENT_CAUSES,
    STORAGE_CAUSES,
    STUCK_CAUSES,
    WATCHED_CAUSES,
    Cause,
)
from watchdog.ledger_entries import LedgerEntry, LedgerKind
from watchdog.record_fields import check
from watchdog.verdicts import Action, Order, OrderKind, Verdict, verdict_from_json

__all__ = [
    "HARMLESS_CAUSES",
    "NUMERIC_CAUSES",
    "RECORD_TYPES",
    "SILENT_CAUSES",
    "STORAGE_CAUSES",
    "STUCK_CAUSES",
    "WATCHED_CAUSES",
    "Action",
    "AttemptEnded",
    "AttemptStarted",
    "Cause",
    "CheckpointFailed",
    "CheckpointSaved",
    "EvalReport",
    "LedgerEntry",
    "LedgerKind",
    "LrChanged",
    "Order",
    "OrderKind",
    "Outcome",
    "PhaseReport",
    "Record",
    "RollbackDone",
    "RoomAwaited",
    "RunEnded",
    "RunStarted",
    "StepReport",
    "Storage",
    "Tick",
    "Verdict",
    "WorkerPhase",
    "record_from_json",
    "verdict_from_json",
]


class Storage(StrEnum):
    """Where a checkpoint lies."""

    MEMORY = "memory"
    DURABLE = "durable"


class Outcome(StrEnum):
    """How an attempt ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    HALTED = "halted"
    RESIZED = "resized"  # stopped with a checkpoint, to go on with another number of workers
    EXCEPTION = "exception"
    OUT_OF_MEMORY = "out_of_memory"
    WORKER_DIED = "worker_died"
    ROLLBACK_FAILED = "rollback_failed"
    HUNG = "hung"


class WorkerPhase(StrEnum):
    """Where in its loop a rank is, in the order of one step; three of them wait for other ranks."""

    STARTING = "starting"
    DATA = "data"
    COMPUTE = "compute"
    ALL_REDUCE = "all_reduce"  # the backward pass, in which the gradients are exchanged
    SETTLE = "settle"
    CHECKPOINT = "checkpoint"
    AGREE = "agree"
    RECOVER = "recover"
    VALIDATE = "validate"  # or whatever else the loop does between two steps
    GATHER = "gather"
    ENDING = "ending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One immutable fact; `kind` names the subclass in JSON."""

    kind: ClassVar[str] = ""
    t_s: float

    def to_json(self) -> dict[str, Any]:
        """Return the record as a JSON object (NaN and Infinity as Python's json writes them)."""
        out: dict[str, Any] = {"kind": self.kind}
        for name in self.__dataclass_fields__:
            out[name] = getattr(self, name)
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Record):
    """A driver took the run over, for the first time or on resume (`is_resumed`)."""

    kind: ClassVar[str] = "run_started"
    run_id: str
    job: str
    max_steps: int
    is_resumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(Record):
    """A worker group came up and restored its state; sent once, by rank 0.

    It trains from `restored_step` + 1 (0: from scratch), read from `storage` (None: scratch).
    `dataset_size` is the number of samples of an epoch: what tells the same sample in two epochs.
    `tier` says how a new attempt came about: regroup, spare, replace or restart. `memory` says in
    a sentence what its memory checkpoints take, before the first of them.
    """

    kind: ClassVar[str] = "attempt_started"
    attempt: int
    world_size: int
    restored_step: int = 0
    storage: Storage | None = None
    generation: int = 0
    lr_scale: float = 1.0
    dataset_size: int | None = None
    tier: str | None = None
    memory: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport(Record):
    """One rank's view of one optimizer step.

    `step` counts from 1 across attempts; `generation` rises with every rollback or restart, so
    that superseded steps can be told from those that count. `loss` is the rank's own mean over its
    samples; `grad_norm` is global (after the all-reduce, before clipping). `is_finite` is false
    when the step produced NaN or infinity, and then the optimizer step was not applied
    (`is_applied`). `sample_ids` are the ordinals (epoch x data set size + index) of this rank's
    samples. `lr` is the rate in use, `scheduled_lr` what the job's own schedule wants at this step.
    `step_s` is the wall time of the step, `data_s` the part of it spent waiting for data, `own_s`
    the part before this rank waits for the others (data and forward passes), all in seconds.
    """

    kind: ClassVar[str] = "step"
    attempt: int
    generation: int
    rank: int
    step: int
    epoch: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    lr: float | None = None
    scheduled_lr: float | None = None
    is_finite: bool = True
    is_applied: bool = True
    step_s: float | None = None
    data_s: float | None = None
    own_s: float | None = None
    samples: int = 0
    sample_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseReport(Record):
    """A rank has been in one place for a second or more; sent by a thread of its own, each second.

    `step` is the one in the making, `stuck_s` the seconds by the rank's own clock, from which
    pauses of the process are left out.
    """

    kind: ClassVar[str] = "phase"
    attempt: int
    generation: int
    rank: int
    world_size: int
    step: int
    phase: WorkerPhase
    stuck_s: float
    is_first_step: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport(Record):
    """A validation at `step`; `val_metric` is higher-is-better, `metrics` holds all by name."""

    kind: ClassVar[str] = "eval"
    attempt: int
    generation: int
    step: int
    val_loss: float | None = None
    val_metric: float | None = None
    seconds: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved(Record):
    """A checkpoint of the state after `step` exists; `is_finite` says weights and optimizer are.

    `held_steps` are those of all checkpoints that this storage now holds, where the sender says so.
    """

    kind: ClassVar[str] = "checkpoint"
    attempt: int
    generation: int
    step: int
    storage: Storage
    is_finite: bool = True
    seconds: float | None = None
    size_bytes: int | None = None
    path: str | None = None
    held_steps: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed(Record):
    """A checkpoint could not be written, or failed its checksum or its restore."""

    kind: ClassVar[str] = "checkpoint_failed"
    attempt: int
    step: int
    storage: Storage
    operation: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackDone(Record):
    """All ranks carried a rollback out in place; sent once, by rank 0.

    `step` is the last step before the rollback; `seconds` is from the agreement of the ranks to
    the restored state. `generation` is the one that starts.
    """

    kind: ClassVar[str] = "rollback_done"
    attempt: int
    generation: int
    verdict_id: int
    step: int
    restored_step: int
    storage: Storage
    seconds: float
    steps_lost: int
    skipped_samples: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LrChanged(Record):
    """All ranks put another multiplier on the rate after `step`, losing no step; from rank 0."""

    kind: ClassVar[str] = "lr_changed"
    attempt: int
    generation: int
    verdict_id: int
    step: int
    lr_scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(Record):
    """The worker group is gone; `rank` is the culprit where it is known."""

    kind: ClassVar[str] = "attempt_ended"
    attempt: int
    outcome: Outcome
    step: int
    error: str | None = None
    rank: int | None = None
    is_node_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAwaited(Record):
    """For the `seconds` before `t_s` the cluster had no room for workers; sent meanwhile."""

    kind: ClassVar[str] = "room_awaited"
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Record):
    """The clock, as data."""

    kind: ClassVar[str] = "tick"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded(Record):
    """The run reached a terminal phase; `state` is finished, stopped, halted or failed."""

    kind: ClassVar[str] = "run_ended"
    attempt: int
    step: int
    state: str
    reason: str = ""


RECORD_TYPES: Mapping[str, type[Record]] = {
    cls.kind: cls
    for cls in (
        RunStarted,
        AttemptStarted,
        StepReport,
        PhaseReport,
        EvalReport,
        CheckpointSaved,
        CheckpointFailed,
        RollbackDone,
        LrChanged,
        AttemptEnded,
        RoomAwaited,
        Tick,
        RunEnded,
    )
}

_ENUM_FIELDS: Mapping[str, type[StrEnum]] = {
    "storage": Storage,
    "outcome": Outcome,
    "phase": WorkerPhase,
}
_TUPLE_FIELDS = frozenset({"sample_ids", "skipped_samples", "held_steps"})


def record_from_json(line: Mapping[str, Any]) -> Record:
    """Return the record that `to_json` wrote.

    Raises:
        KeyError: the kind is unknown.
        TypeError: a field is missing or unknown, or holds a value of another type.
        ValueError: an enumerated field has an unknown value.
    """
    data = dict(line)
    cls = RECORD_TYPES[data.pop("kind")]
    for name, enum in _ENUM_FIELDS.items():
        if data.get(name) is not None:
            data[name] = enum(data[name])
    for name in _TUPLE_FIELDS & data.keys():
        if data[name] is not None:
            data[name] = tuple(data[name])
    check(cls, data)
    return cls(**data)
