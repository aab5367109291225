"""From the rows of somebody else's log to records, as if one rank had reported them.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from watchdog.records import (
    AttemptStarted,
    EvalReport,
    Record,
    RunStarted,
    StepReport,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One logged line; None is what was not logged. A higher metric is better."""

    step: int | None = None
    epoch: float | None = None
    loss: float | None = None
    val_loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    val_metric: float | None = None

    @property
    def is_training(self) -> bool:
        """Whether the row says anything about a training step."""
        return self.loss is not None or self.grad_norm is not None

    @property
    def is_validation(self) -> bool:
        """Whether the row says anything about a validation."""
        return self.val_loss is not None or self.val_metric is not None


def records_of(name: str, rows: Iterable[Row]) -> Iterator[Record]:
    """Yield the records of a log called `name`; its clock is the number of the row.

    Rows without a step are numbered on; a validation among them belongs to the step before it. A
    training row whose step goes back starts a new attempt: the run was resumed from a checkpoint
    of the step before.
    """
    yield RunStarted(t_s=0.0, run_id=name, job=name, max_steps=0)
    yield AttemptStarted(t_s=0.0, attempt=0, world_size=1)
    attempt, newest_step, validated_step = 0, -1, -1
    for number, row in enumerate(rows, start=1):
        t_s = float(number)
        step = row.step
        if step is None:
            is_check_only = row.is_validation and not row.is_training
            step = newest_step + (not is_check_only or newest_step == validated_step)
        step = max(0, step)
        if row.is_training and step < newest_step:
            attempt += 1
            yield AttemptStarted(
                t_s=t_s,
                attempt=attempt,
                generation=attempt,
                world_size=1,
                restored_step=max(0, step - 1),
            )
        if row.is_training:
            newest_step = step
            yield _step_report(row, t_s, attempt, step)
        if row.is_validation:
            newest_step = validated_step = max(newest_step, step)
            yield EvalReport(
                t_s=t_s,
                attempt=attempt,
                generation=attempt,
                step=step,
                val_loss=row.val_loss,
                val_metric=row.val_metric,
            )


def _step_report(row: Row, t_s: float, attempt: int, step: int) -> StepReport:
    is_finite = all(v is None or math.isfinite(v) for v in (row.loss, row.grad_norm))
    return StepReport(
        t_s=t_s,
        attempt=attempt,
        generation=attempt,
        rank=0,
        step=step,
        epoch=row.epoch,
        loss=row.loss,
        grad_norm=row.grad_norm,
        lr=row.lr,
        is_finite=is_finite,
        is_applied=is_finite,
    )
