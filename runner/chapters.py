"""The parts of a run's story: interventions, suspicions, checkpoints, attempts.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How a verdict was carried out; None is unknown."""

    mechanism: str = ""  # in_place or restart
    tier: str = ""  # of a restart: regroup, spare, replace or restart
    storage: str = ""  # memory or durable
    restored_step: int | None = None
    seconds: float | None = None
    steps_lost: int | None = None
    skipped_samples: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The counterfactual that closed an intervention; `helped` None: cannot be told."""

    sentence: str = ""
    forecast: float | None = None
    actual: float | None = None
    steps_lost: int | None = None
    seconds_lost: float | None = None
    helped: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervention:
    """One verdict that ordered something, with all that followed from it."""

    verdict_id: int | None = None
    incident: str = ""
    t_s: float | None = None
    generation: int | None = None
    step: int = 0
    onset_step: int = 0
    cause: str = ""
    action: str = ""
    reason: str = ""
    rank: int | None = None
    value: float | None = None  # what the detector measured, and its limit
    threshold: float | None = None
    lr_scale: float | None = None
    lr_scale_before: float = 1.0
    min_lr: float = 0.0
    recovery: Recovery | None = None
    proof: Proof | None = None
    closed_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """A finding that was watched; most heal and are never acted on."""

    step: int | None
    cause: str
    reason: str
    status: str = ""  # open or recovered


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A decision that left the run as it was; `advised` is what would have been done."""

    step: int | None
    cause: str
    advised: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HardSample:
    """A sample whose batch spikes in every epoch, or cost the run a rollback."""

    index: int
    epochs: int
    worst_excess: float | None
    has_rolled_back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLine:
    """What the ledger says of one checkpoint; `trust` is the last word on it."""

    step: int
    storage: str
    t_s: float | None = None
    size_bytes: int | None = None
    seconds: float | None = None
    trust: str = "candidate"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLine:
    """One life of the worker group; `error` is why it ended, if it failed."""

    attempt: int
    world_size: int | None = None
    from_step: int | None = None
    end_step: int | None = None
    outcome: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The ledger, put together. Times are Unix seconds."""

    started_t_s: float | None = None
    ended_t_s: float | None = None
    state: str = ""
    reason: str = ""
    max_steps: int | None = None
    interventions: tuple[Intervention, ...] = ()
    suspicions: tuple[Suspicion, ...] = ()
    remarks: tuple[Remark, ...] = ()
    hard_samples: tuple[HardSample, ...] = ()
    checkpoints: tuple[CheckpointLine, ...] = ()
    attempts: tuple[AttemptLine, ...] = ()
