"""What a rank tells the watchdog: its records, each made in one place.

Runs in: worker.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import torch

from runner.batches import RankBatch
from runner.course import Course
from runner.recovery import RestorePoint
from runner.reflex import StepOutcome
from runner.telemetry import Telemetry
from watchdog.records import (
    AttemptStarted,
    EvalReport,
    LrChanged,
    RollbackDone,
    StepReport,
    Storage,
    Verdict,
)


class Reporter:
    """One rank's reports of one attempt; what concerns all ranks is told by rank 0."""

    def __init__(
        self, telemetry: Telemetry, course: Course, rank: int, tier: str | None = None
    ) -> None:
        self._tier = tier
        self._telemetry = telemetry
        self._course = course
        self._rank = rank
        self._step_started = time.perf_counter()

    def attempt_started(self, point: RestorePoint, memory: str) -> None:
        """Tell that all ranks have restored `point` and begin to train."""
        course = self._course
        if self._rank == 0:
            self._telemetry.send(
                AttemptStarted(
                    t_s=time.time(),
                    attempt=course.attempt,
                    world_size=course.world_size,
                    restored_step=point.step,
                    storage=point.storage,
                    generation=course.generation,
                    lr_scale=course.lr_scale,
                    memory=memory,
                    dataset_size=course.size,
                    tier=self._tier,
                )
            )

    def start_clock(self) -> None:
        """Let the time of the next step begin now."""
        self._step_started = time.perf_counter()

    def step(
        self,
        batch: RankBatch,
        loss: torch.Tensor,
        outcome: StepOutcome,
        *,
        lr: float,
        scheduled_lr: float,
        data_s: float,
        own_s: float,
    ) -> None:
        """Report the step just taken; its tensors are read, and its record made, later."""
        course, now = self._course, time.perf_counter()
        report = partial(
            StepReport,
            t_s=time.time(),
            attempt=course.attempt,
            generation=course.generation,
            rank=self._rank,
            step=course.step,
            epoch=course.epoch,
            lr=lr,
            scheduled_lr=scheduled_lr,
            step_s=now - self._step_started,
            data_s=data_s,
            own_s=own_s,
            samples=batch.size,
            sample_ids=batch.ordinals,
        )
        self._step_started = now
        self._telemetry.step(report, loss, outcome.grad_norm, outcome.is_applied, outcome.is_finite)

    def evaluation(self, metrics: Mapping[str, float], metric: str, seconds: float) -> None:
        """Tell of a validation."""
        self.start_clock()
        if self._rank == 0:
            self._telemetry.send(
                EvalReport(
                    t_s=time.time(),
                    attempt=self._course.attempt,
                    generation=self._course.generation,
                    step=self._course.step,
                    val_loss=metrics.get("val_loss"),
                    val_metric=metrics.get(metric),
                    seconds=seconds,
                    metrics=dict(metrics),
                )
            )

    def lr_changed(self, verdict: Verdict) -> None:
        """Tell that all ranks put another multiplier on the rate."""
        if self._rank == 0:
            self._telemetry.send(
                LrChanged(
                    t_s=time.time(),
                    attempt=self._course.attempt,
                    generation=self._course.generation,
                    verdict_id=verdict.verdict_id,
                    step=self._course.step,
                    lr_scale=verdict.lr_scale,
                )
            )

    def rolled_back(
        self,
        verdict: Verdict,
        point: RestorePoint,
        *,
        last_step: int,
        seconds: float,
        skipped: frozenset[int],
    ) -> None:
        """Tell that all ranks went back in place."""
        if self._rank == 0:
            self._telemetry.send(
                RollbackDone(
                    t_s=time.time(),
                    attempt=self._course.attempt,
                    generation=self._course.generation,
                    verdict_id=verdict.verdict_id,
                    step=last_step,
                    restored_step=point.step,
                    storage=point.storage or Storage.MEMORY,
                    seconds=seconds,
                    steps_lost=last_step - point.step,
                    skipped_samples=tuple(sorted(skipped)),
                )
            )
