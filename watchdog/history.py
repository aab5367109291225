"""What has happened so far, as plain values: one view for the policy, one for the driver.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from watchdog.records import Cause, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a policy decides from.

    `lr_scale` is the multiplier in force, `max_lr` the peak of the job's own rate (None: unknown,
    or still rising). `spent` are the charges of each cause that progress has not given back.
    `repeats` counts how often in a row the same cause struck again without progress, or with a
    proof that nothing had helped; `last_restored_step` was restored the last time, and `undone`
    reductions of the rate were taken back. `skip_samples` were ordered before; `bad_samples` belong
    to this incident, and `bad_batches` names each of their batches by one sample.
    `micro_batch_scale` is the multiplier on a forward pass in force.
    """

    verdict_id: int
    incident: str
    t_s: float
    attempt: int
    generation: int
    step: int
    lr_scale: float = 1.0
    max_lr: float | None = None
    spent: Mapping[Cause, int] = field(default_factory=dict)
    trusted_steps: tuple[int, ...] = ()
    durable_steps: tuple[int, ...] = ()
    skip_samples: tuple[int, ...] = ()
    bad_samples: tuple[int, ...] = ()
    bad_batches: tuple[int, ...] = ()
    repeats: int = 0
    undone: int = 0
    micro_batch_scale: float = 1.0
    last_restored_step: int | None = None
    has_progress: bool = True
    max_steps: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """What the driver plans the next attempt from, after any end, its own included.

    `lr_scale` and `skip_samples` already hold what `pending_verdict` orders. The multiplier is
    reached over `rewarmup_steps` after `lr_anchor_step`, from `lr_from_scale`. `trusted_steps` have
    a trusted checkpoint, `distrusted_steps` only tainted or quarantined ones.
    """

    attempt: int = 0
    next_attempt: int = 0
    generation: int = 0
    step: int = 0
    lr_scale: float = 1.0
    lr_from_scale: float = 0.0
    lr_anchor_step: int = 0
    rewarmup_steps: int = 0
    min_lr: float = 0.0
    micro_batch_scale: float = 1.0
    skip_samples: tuple[int, ...] = ()
    trusted_steps: tuple[int, ...] = ()
    distrusted_steps: tuple[int, ...] = ()
    pending_verdict: Verdict | None = None
