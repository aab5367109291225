"""The facts the watchdog is told, and the conclusions it writes; plain data that survives JSON.

Time is data: every record carries `t_s` (Unix seconds, from the sender's clock), silence is found
from `Tick` records, and nothing in the judging half reads a clock. Unknown is `None`, never zero;
NaN is a value.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar


class Cause(StrEnum):
    """Why an incident was opened; the budget of an intervention is counted per cause."""

    NONFINITE = "nonfinite"
    SPIKE = "spike"
    DIVERGENCE = "divergence"
    DEAD_LOSS = "dead_loss"
    LR_UNDERFLOW = "lr_underflow"
    TRIVIAL = "trivial"
    PLATEAU = "plateau"
    SKIPPED_BATCHES = "skipped_batches"
    GRADIENTS = "gradients"
    UNSTABLE_VALIDATION = "unstable_validation"
    OVERFITTING = "overfitting"
    STALL = "stall"
    STRAGGLER = "straggler"
    CRASH = "crash"
    NODE_LOST = "node_lost"


#: Causes that lie in the numbers, not in a process or a machine.
NUMERIC_CAUSES = frozenset(
    {
        Cause.NONFINITE,
        Cause.SPIKE,
        Cause.DIVERGENCE,
        Cause.DEAD_LOSS,
        Cause.LR_UNDERFLOW,
        Cause.TRIVIAL,
        Cause.PLATEAU,
        Cause.SKIPPED_BATCHES,
    }
)

#: Causes that are told and never acted on: a precursor, a matter of taste, or somebody else's.
WATCHED_CAUSES = frozenset(
    {
        Cause.GRADIENTS,
        Cause.UNSTABLE_VALIDATION,
        Cause.OVERFITTING,
        Cause.STALL,
        Cause.STRAGGLER,
    }
)

#: Causes that are found from the clock alone, and over as soon as something is heard.
SILENT_CAUSES = frozenset({Cause.STALL})

#: Causes under which a run goes on making clean steps: only a better loss is progress.
STUCK_CAUSES = frozenset({Cause.PLATEAU, Cause.DEAD_LOSS, Cause.TRIVIAL, Cause.LR_UNDERFLOW})

#: Causes that leave the weights as good as they were: what was saved since is not tainted.
HARMLESS_CAUSES = frozenset({Cause.PLATEAU, Cause.LR_UNDERFLOW})


class Action(StrEnum):
    """What a verdict orders, mildest first."""

    CONTINUE = "continue"
    ROLLBACK = "rollback"
    RESTART = "restart"
    HALT = "halt"


class OrderKind(StrEnum):
    """What all ranks are to do at the same step."""

    ROLLBACK = "rollback"
    SET_LR = "set_lr"
    STOP = "stop"
    HALT = "halt"


class Storage(StrEnum):
    """Where a checkpoint lies."""

    MEMORY = "memory"
    DURABLE = "durable"


class Outcome(StrEnum):
    """How an attempt ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    HALTED = "halted"
    EXCEPTION = "exception"
    WORKER_DIED = "worker_died"
    ROLLBACK_FAILED = "rollback_failed"


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
    """

    kind: ClassVar[str] = "attempt_started"
    attempt: int
    world_size: int
    restored_step: int = 0
    storage: Storage | None = None
    generation: int = 0
    lr_scale: float = 1.0
    dataset_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport(Record):
    """One rank's view of one optimizer step.

    `step` counts from 1 across attempts; `generation` rises with every rollback or restart, so
    that superseded steps can be told from those that count. `loss` is the rank's own mean over its
    samples; `grad_norm` is global (after the all-reduce, before clipping). `is_finite` is false
    when the step produced NaN or infinity, and then the optimizer step was not applied
    (`is_applied`). `sample_ids` are the ordinals (epoch x data set size + index) of this rank's
    samples. `lr` is the rate in use, `scheduled_lr` what the job's own schedule wants at this step.
    `step_s` is the wall time of the step, `data_s` the part of it spent waiting for data,
    both in seconds.
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
    samples: int = 0
    sample_ids: tuple[int, ...] = ()


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
        EvalReport,
        CheckpointSaved,
        CheckpointFailed,
        RollbackDone,
        LrChanged,
        AttemptEnded,
        Tick,
        RunEnded,
    )
}

_ENUM_FIELDS: Mapping[str, type[StrEnum]] = {"storage": Storage, "outcome": Outcome}
_TUPLE_FIELDS = frozenset({"sample_ids", "skipped_samples", "held_steps"})


def record_from_json(line: Mapping[str, Any]) -> Record:
    """Return the record that `to_json` wrote.

    Raises:
        KeyError: the kind is unknown.
        TypeError: a field is missing or unknown.
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
    return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The policy's decision, with its reason; in the ledger before anything is done.

    `onset_step` is the first bad step: a rollback restores the newest trusted checkpoint of a step
    before it. `lr_scale` is the total multiplier on the job's learning rate once it is carried
    out; it never lets the rate fall under `min_lr`, and is reached over `rewarmup_steps`.
    `skip_samples` are sample ordinals that the replay must not consume. `trusted_steps` are the
    steps whose checkpoints are trusted, newest last; `step` is the newest step seen. `advised` is
    what the policy would have ordered, where `action` is CONTINUE only because it may not act; any
    other CONTINUE orders a new `lr_scale` and nothing else. `reset_momentum` has the restored
    optimizer forget what it has gathered.
    """

    verdict_id: int
    t_s: float
    attempt: int
    generation: int
    step: int
    cause: Cause
    action: Action
    reason: str
    onset_step: int
    lr_scale: float = 1.0
    min_lr: float = 0.0
    rewarmup_steps: int = 0
    skip_samples: tuple[int, ...] = ()
    trusted_steps: tuple[int, ...] = ()
    incident: str = ""
    advised: Action | None = None
    reset_momentum: bool = False

    @property
    def is_numeric(self) -> bool:
        """Whether the numbers are at fault, so that a trusted older checkpoint is wanted."""
        return self.cause in NUMERIC_CAUSES

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as a JSON object."""
        return dataclasses.asdict(self)


def verdict_from_json(line: Mapping[str, Any]) -> Verdict:
    """Return the verdict that `to_json` wrote; other keys (the ledger's `kind`) are ignored."""
    known = {f.name for f in dataclasses.fields(Verdict)}
    data = {k: v for k, v in line.items() if k in known}
    data["cause"] = Cause(data["cause"])
    data["action"] = Action(data["action"])
    if data.get("advised") is not None:
        data["advised"] = Action(data["advised"])
    for name in ("skip_samples", "trusted_steps"):
        data[name] = tuple(data.get(name, ()))
    return Verdict(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the ranks are to do together; ids rise, and a higher one supersedes a lower."""

    order_id: int
    kind: OrderKind
    verdict: Verdict | None = None


class LedgerKind(StrEnum):
    """The kinds of ledger lines, a contract with everything that reads a run folder."""

    RUN_STARTED = "run_started"
    ATTEMPT_STARTED = "attempt_started"
    CHECKPOINT_SAVED = "checkpoint_saved"
    CHECKPOINT_TRUSTED = "checkpoint_trusted"
    CHECKPOINT_TAINTED = "checkpoint_tainted"
    CHECKPOINT_QUARANTINED = "checkpoint_quarantined"
    SUSPECT = "suspect"
    INCIDENT_OPENED = "incident_opened"
    VERDICT = "verdict"
    RECOVERY_STARTED = "recovery_started"
    RECOVERY_DONE = "recovery_done"
    INCIDENT_CLOSED = "incident_closed"
    PROOF = "proof"
    ATTEMPT_ENDED = "attempt_ended"
    RUN_ENDED = "run_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One line of the ledger: what was concluded or done. `data` holds the kind's own fields."""

    kind: LedgerKind
    t_s: float
    attempt: int
    step: int
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the flat JSON object of the ledger file."""
        return {
            "t_s": self.t_s,
            "kind": self.kind,
            "attempt": self.attempt,
            "step": self.step,
            **self.data,
        }
