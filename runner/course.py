"""Where one rank's training stands: step, position in the data, generation, rate, skipped samples.

Runs in: worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from runner.recovery import AttemptPlan
from runner.sampler import SampleOrder
from runner.schedule import LrControl, scheduled_lr
from runner.spec import TrainConfig
from runner.state import StateInfo
from runner.validation_history import ValidationHistory
from watchdog.records import Verdict


class Course:
    """The course of one attempt. `size` is the number of samples of an epoch."""

    def __init__(self, plan: AttemptPlan, train: TrainConfig, world_size: int) -> None:
        self.attempt = plan.attempt
        self.generation = plan.generation
        self.step = 0
        self.position = 0
        self.size = 0
        self.skip = frozenset(plan.skip_samples)
        self.world_size = world_size
        self.validations = ValidationHistory(train)
        self._train = train
        self._lr_control = LrControl(
            plan.lr_scale,
            plan.lr_anchor_step,
            plan.rewarmup_steps,
            plan.min_lr,
            plan.lr_from_scale,
        )

    @property
    def epoch(self) -> float:
        """Return the epochs consumed so far, with a fraction."""
        return self.position / self.size

    @property
    def lr_scale(self) -> float:
        """Return the watchdog's multiplier on the rate."""
        return self._lr_control.scale

    def scheduled_lr(self) -> float:
        """Return the rate that the job's own schedule wants at this step."""
        return scheduled_lr(self.step, self._train, self.validations.rate_scale)

    def lr(self, scheduled: float) -> float:
        """Return the rate to use at this step, given the one that the schedule wants."""
        return self._lr_control.lr(self.step, scheduled)

    def info(self) -> StateInfo:
        """Return what a checkpoint of this moment has to know."""
        return StateInfo(
            step=self.step,
            generation=self.generation,
            position=self.position,
            world_size=self.world_size,
            seed=self._train.seed,
        )

    def manifest(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        """Return what else a durable checkpoint tells about this moment."""
        return {
            "created_t_s": time.time(),
            "epoch": self.epoch,
            "skip_samples": sorted(self.skip),
            "lr_scale": self.lr_scale,
            "metrics": dict(metrics),
        }

    def order(self, position: int, skip: Iterable[int]) -> SampleOrder:
        """Return the order of samples from `position` on."""
        return SampleOrder(
            size=self.size,
            batch_size=self._train.batch_size,
            seed=self._train.seed,
            position=position,
            skip=skip,
        )

    def go_back(self, info: StateInfo) -> None:
        """Stand where a restored state was taken."""
        self.step = info.step
        self.position = info.position

    def change_lr(self, verdict: Verdict) -> None:
        """Change the multiplier on the rate from the next step on, without going back."""
        self._lr_control = LrControl(
            verdict.lr_scale,
            self.step,
            verdict.rewarmup_steps,
            verdict.min_lr,
            self._lr_control.scale,
        )

    def rolled_back(self, verdict: Verdict, skipped: frozenset[int]) -> None:
        """Begin a new generation at the restored step, as a verdict wants it."""
        self.generation += 1
        self.skip |= skipped
        self._lr_control = LrControl(
            verdict.lr_scale, self.step, verdict.rewarmup_steps, verdict.min_lr
        )
