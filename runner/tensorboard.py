"""Curves for TensorBoard, rollback-true as far as TensorBoard can be.

A rollback opens a new event file that begins with a session start at the step after the restored
one; TensorBoard then drops what earlier files have beyond it. An event file cannot be edited, so
the superseded values stay on disk and are not shown.

Runs in: driver.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from watchdog.records import AttemptStarted, EvalReport, Record, RollbackDone, StepReport


class EventWriter:
    """Writes the scalars of one run from its records, which it is told from the first one on.

    What the folder holds from an earlier life of the driver is purged, because a driver that takes
    a run up tells the whole trace again. The loss of a step is the mean over ranks, written when
    the next step comes in; NaN is left out, because TensorBoard drops a whole chart for it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = sum(1 for _ in folder.glob("events.out.tfevents.*"))
        self._step: int | None = None
        self._t_s = 0.0
        self._losses: dict[int, float] = {}
        self._scalars: dict[str, float] = {}
        self._generation = 0
        self._writer = self._open(purge_step=0)

    def observe(self, record: Record) -> None:
        """Take one record in; a superseded one, or one not about curves, is passed over."""
        match record:
            case StepReport():
                self._observe_step(record)
            case EvalReport() if record.generation >= self._generation:
                self._write(_validation_scalars(record), record.step, record.t_s)
            case RollbackDone() | AttemptStarted():
                self._return_to(record.restored_step, record.generation)
            case _:
                pass

    def close(self) -> None:
        """Write what is left; TensorBoard sees it from now on."""
        self._finish_step()
        self._writer.close()

    def _observe_step(self, report: StepReport) -> None:
        if report.generation < self._generation:
            return
        if report.step != self._step:
            self._finish_step()
            self._step = report.step
            self._t_s = report.t_s
        for tag, value in _step_scalars(report).items():
            self._scalars.setdefault(tag, value)
        if report.loss is not None:
            self._losses.setdefault(report.rank, report.loss)

    def _finish_step(self) -> None:
        if self._step is None:
            return
        if self._losses:
            self._scalars["train/loss"] = math.fsum(self._losses.values()) / len(self._losses)
        self._write(self._scalars, self._step, self._t_s)
        self._step = None
        self._losses = {}
        self._scalars = {}

    def _return_to(self, restored_step: int, generation: int) -> None:
        self._finish_step()
        if generation <= self._generation:
            return
        self._generation = generation
        self._writer.close()
        self._writer = self._open(purge_step=restored_step + 1)

    def _open(self, purge_step: int) -> SummaryWriter:
        """Start another file; TensorBoard reads them in the order of their names.

        Its own names hold the second they were made in, so two rollbacks within one would overwrite
        each other; the number keeps them apart and in order.
        """
        self._files += 1
        return SummaryWriter(
            str(self._folder),
            purge_step=purge_step,
            filename_suffix=f".{self._files:06d}",
            flush_secs=10,
        )

    def _write(self, scalars: Mapping[str, float], step: int, t_s: float) -> None:
        for tag, value in scalars.items():
            if math.isfinite(value):
                self._writer.add_scalar(tag, value, step, walltime=t_s)


def _step_scalars(report: StepReport) -> dict[str, float]:
    values = {
        "train/learning_rate": report.lr,
        "train/gradient_norm": report.grad_norm,
        "train/epoch": report.epoch,
        "time/step_s": report.step_s,
    }
    return {tag: value for tag, value in values.items() if value is not None}


def _validation_scalars(report: EvalReport) -> dict[str, float]:
    values = dict(report.metrics)
    if report.val_loss is not None:
        values.setdefault("val_loss", report.val_loss)
    if report.val_metric is not None:
        values.setdefault("val_metric", report.val_metric)
    return {f"validation/{name}": value for name, value in values.items()}
