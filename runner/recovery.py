"""From a verdict and what checkpoints exist to a plan; every rank computes the same one.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from watchdog.history import RunHistory
from watchdog.records import Storage, Verdict


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A checkpoint to go back to; step 0 without storage is the untrained model."""

    step: int
    storage: Storage | None


@dataclass(frozen=True, slots=True)
class AttemptPlan:
    """What a new attempt starts from. Everything in it is plain data that survives pickling.

    `restore` lists the points to try, best first; the last is always the untrained model.
    """

    attempt: int = 0
    generation: int = 0
    restore: tuple[RestorePoint, ...] = (RestorePoint(0, None),)
    lr_scale: float = 1.0
    lr_from_scale: float = 0.0
    lr_anchor_step: int = 0
    rewarmup_steps: int = 0
    min_lr: float = 0.0
    skip_samples: tuple[int, ...] = field(default=())
    reset_momentum: bool = False
    micro_batch_scale: float = 1.0


def rollback_candidates(
    verdict: Verdict, memory_steps: Iterable[int], durable_steps: Iterable[int]
) -> tuple[RestorePoint, ...]:
    """Return the trusted checkpoints older than the first bad step: newest, memory before durable.

    None: nothing trusted that old exists, so the attempt cannot go back in place. The later ones
    are for when an earlier one turns out to be damaged.
    """
    trusted = {step for step in verdict.trusted_steps if step < verdict.onset_step}
    points = [RestorePoint(step, Storage.MEMORY) for step in trusted & set(memory_steps)]
    points += [RestorePoint(step, Storage.DURABLE) for step in trusted & set(durable_steps)]
    return _best_first(points)


def restore_candidates(
    *,
    memory_steps: Sequence[int],
    durable_steps: Sequence[int],
    distrusted_steps: Iterable[int],
    before_step: int | None,
    trusted_steps: Iterable[int] | None,
) -> tuple[RestorePoint, ...]:
    """Return the points a new attempt may restore, best first: newest, and memory before durable.

    After a plain crash (`trusted_steps` None) a checkpoint that nobody distrusts will do; after a
    numerical incident only a trusted one older than the first bad step (`before_step`).
    """
    distrusted = set(distrusted_steps)
    trusted = None if trusted_steps is None else set(trusted_steps)

    def may_restore(step: int) -> bool:
        if step in distrusted or (before_step is not None and step >= before_step):
            return False
        return trusted is None or step in trusted

    points = [RestorePoint(s, Storage.MEMORY) for s in memory_steps if may_restore(s)]
    points += [RestorePoint(s, Storage.DURABLE) for s in durable_steps if may_restore(s)]
    return (*_best_first(points), RestorePoint(0, None))


def plan_attempt(
    history: RunHistory,
    verdict: Verdict | None,
    memory_steps: Sequence[int],
    durable_steps: Sequence[int],
) -> AttemptPlan:
    """Return the plan of the next attempt from what the watchdog knows and what exists.

    Every rank computes it, from the same: `memory_steps` are those that any rank or the watchdog
    has in memory, `durable_steps` those on storage.

    A verdict that names a first bad step of the numbers wants a trusted checkpoint older than it;
    after a crash, or on a resume, the newest that nobody distrusts will do.
    """
    is_numeric = verdict is not None and verdict.is_numeric
    return AttemptPlan(
        attempt=history.next_attempt,
        generation=history.generation + 1 if history.next_attempt else 0,
        restore=restore_candidates(
            memory_steps=memory_steps,
            durable_steps=durable_steps,
            distrusted_steps=history.distrusted_steps,
            before_step=verdict.onset_step if verdict is not None and is_numeric else None,
            trusted_steps=history.trusted_steps if is_numeric else None,
        ),
        lr_scale=history.lr_scale,
        lr_from_scale=history.lr_from_scale,
        lr_anchor_step=history.lr_anchor_step,
        rewarmup_steps=history.rewarmup_steps,
        min_lr=history.min_lr,
        skip_samples=history.skip_samples,
        micro_batch_scale=history.micro_batch_scale,
        reset_momentum=verdict is not None and verdict.reset_momentum,
    )


def _best_first(points: Iterable[RestorePoint]) -> tuple[RestorePoint, ...]:
    return tuple(sorted(points, key=lambda p: (-p.step, p.storage is Storage.DURABLE)))
