"""Puts the reports of the ranks together into one judgement a step.

A step is complete when every rank reported it, or a later one; a rank that falls more than
`lag_steps` behind the newest is not waited for until it is back, so nothing waits forever.
Completed steps leave in order.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from watchdog.records import StepReport


class JudgedStep(NamedTuple):
    """One optimizer step over all ranks that reported it.

    `loss` is the mean over the ranks (None: nobody reported one; it may be NaN); `grad_norm` and
    `lr` are the same on every rank. `t_s` is the newest report's. `is_applied` is false when the
    optimizer step was skipped on any rank.
    """

    step: int
    t_s: float
    loss: float | None
    grad_norm: float | None
    lr: float | None
    is_finite: bool
    epoch: float | None = None
    is_applied: bool = True
    scheduled_lr: float | None = None

    def own_lr(self, lr_scale: float) -> float | None:
        """Return the rate the job's own schedule wants, `lr_scale` being the multiplier on it."""
        if self.scheduled_lr is not None:
            return self.scheduled_lr
        return self.lr / lr_scale if self.lr is not None and lr_scale > 0 else None


@dataclass(slots=True)
class _Partial:
    """What the ranks have said of one step so far."""

    ranks: set[int] = field(default_factory=set)
    losses: list[float] = field(default_factory=list)
    grad_norm: float | None = None
    lr: float | None = None
    scheduled_lr: float | None = None
    epoch: float | None = None
    is_finite: bool = True
    is_applied: bool = True
    t_s: float = -math.inf


class StepAssembler:
    """Collects reports of one generation; `world_size` ranks are expected."""

    def __init__(self, lag_steps: int) -> None:
        self._lag_steps = lag_steps
        self._world_size = 1
        self._partials: dict[int, _Partial] = {}
        self._absent: set[int] = set()
        self._judged_step = -1
        self._newest_step = -1

    def restart(self, restored_step: int, world_size: int | None = None) -> None:
        """Forget what is incomplete; the next step is the one after `restored_step`."""
        if world_size is not None:
            self._world_size = max(1, world_size)
        self._partials.clear()
        self._absent.clear()
        self._judged_step = restored_step
        self._newest_step = restored_step

    def add(self, report: StepReport) -> list[JudgedStep]:
        """Take a report in; return the steps it completed, oldest first."""
        if report.step <= self._judged_step:
            return []
        if self._world_size == 1:  # nobody to wait for
            self._judged_step = report.step
            return [_judge_alone(report)]
        self._absent.discard(report.rank)
        self._newest_step = max(self._newest_step, report.step)
        partial = self._partials.setdefault(report.step, _Partial())
        _merge(partial, report)
        missing = self._world_size - len(partial.ranks)
        if missing <= 0 or missing <= len(self._absent - partial.ranks):
            return self._complete(report.step)
        overdue_step = self._newest_step - self._lag_steps
        overdue = max((step for step in self._partials if step <= overdue_step), default=None)
        if overdue is None:
            return []
        self._absent |= set(range(self._world_size)) - self._partials[overdue].ranks
        return self._complete(overdue)

    def _complete(self, step: int) -> list[JudgedStep]:
        ready = sorted(s for s in self._partials if s <= step)
        self._judged_step = step
        return [_judge(s, self._partials.pop(s)) for s in ready]


def _merge(partial: _Partial, report: StepReport) -> None:
    if report.rank in partial.ranks:
        return
    partial.ranks.add(report.rank)
    if report.loss is not None:
        partial.losses.append(report.loss)
    if partial.grad_norm is None:
        partial.grad_norm = report.grad_norm
    if partial.lr is None:
        partial.lr = report.lr
        partial.scheduled_lr = report.scheduled_lr
    if partial.epoch is None:
        partial.epoch = report.epoch
    partial.is_finite = partial.is_finite and report.is_finite
    partial.is_applied = partial.is_applied and report.is_applied
    if math.isfinite(report.t_s):
        partial.t_s = max(partial.t_s, report.t_s)


def _judge(step: int, partial: _Partial) -> JudgedStep:
    loss = mean(partial.losses)
    return JudgedStep(
        step=step,
        t_s=partial.t_s if math.isfinite(partial.t_s) else 0.0,
        loss=loss,
        grad_norm=partial.grad_norm,
        lr=partial.lr,
        scheduled_lr=partial.scheduled_lr,
        is_finite=partial.is_finite and (loss is None or math.isfinite(loss)),
        epoch=partial.epoch,
        is_applied=partial.is_applied,
    )


def _judge_alone(report: StepReport) -> JudgedStep:
    loss = report.loss
    is_good = loss is None or math.isfinite(loss)
    return JudgedStep(
        report.step,
        report.t_s if math.isfinite(report.t_s) else 0.0,
        loss if is_good else math.nan,
        report.grad_norm,
        report.lr,
        report.is_finite and is_good,
        report.epoch,
        report.is_applied,
        report.scheduled_lr,
    )


def mean(values: Iterable[float]) -> float | None:
    """Return the mean, the same whatever the order of the values; None of none.

    It is NaN if one of the values is not finite.
    """
    listed = list(values)
    if not listed:
        return None
    if len(listed) == 1:
        return listed[0] if math.isfinite(listed[0]) else math.nan
    if not all(map(math.isfinite, listed)):
        return math.nan
    count = len(listed)
    return math.fsum([value / count for value in listed])
