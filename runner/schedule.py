"""The learning rate of a step: the job's schedule times the watchdog's multiplier.

The multiplier is composed at every step and never stored in an optimizer or a scheduler, so
restoring one of those cannot undo it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from runner.spec import TrainConfig


def scheduled_lr(step: int, train: TrainConfig, plateau_scale: float = 1.0) -> float:
    """Return the job's own learning rate at `step` (from 1): linear warm-up, then the schedule.

    The halving is the smooth form of a rate that a plateau rule halves again and again.
    `plateau_scale` is what the validations make of the rate; only reduce_on_plateau asks for it.

    Source: of the cosine, Loshchilov and Hutter, SGDR (arXiv 1608.03983), equation 5, without
    restarts.
    """
    if step <= train.warmup_steps:
        return train.lr * step / train.warmup_steps
    if train.schedule == "constant":
        return train.lr
    if train.schedule == "halving":
        halvings = (step - train.warmup_steps) / train.half_life_steps
        return max(train.min_lr, train.lr * math.exp2(-halvings))
    if train.schedule == "reduce_on_plateau":
        return max(min(train.min_lr, train.lr), train.lr * plateau_scale)
    span = max(1, train.max_steps - train.warmup_steps)
    progress = min(1.0, (step - train.warmup_steps) / span)
    return train.min_lr + (train.lr - train.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, slots=True)
class LrControl:
    """The watchdog's hold on the rate: `scale` reached over `rewarmup_steps` after `anchor_step`.

    It is reached from `from_scale`: 0 after a rollback, else the one that was in force up to the
    anchor. `floor` is the least rate the watchdog may cause; a schedule that is lower by itself is
    kept.
    """

    scale: float = 1.0
    anchor_step: int = 0
    rewarmup_steps: int = 0
    floor: float = 0.0
    from_scale: float = 0.0

    def lr(self, step: int, scheduled: float) -> float:
        """Return the rate to use at `step`, given the job's own."""
        into = step - self.anchor_step
        if into <= 0 and self.from_scale > 0:
            return self._held(scheduled, self.from_scale)
        target = self._held(scheduled, self.scale)
        if 0 < into <= self.rewarmup_steps:
            start = self._held(scheduled, self.from_scale) if self.from_scale > 0 else 0.0
            return start + (target - start) * into / (self.rewarmup_steps + 1)
        return target

    def _held(self, scheduled: float, scale: float) -> float:
        return max(scheduled * scale, min(scheduled, self.floor))
