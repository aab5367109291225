"""One rank's attempt from beginning to end: build the task, train, say how it ended.

Runs in: worker.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from runner.channel import Channel
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.job import Job
from runner.loop import train
from runner.recovery import AttemptPlan
from runner.session import Session
from runner.task import Metrics, TaskContext
from watchdog.records import OrderKind

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttemptReturn:
    """What a worker that came to an end by itself reports; plain data."""

    step: int
    stopped_by: OrderKind | None
    metrics: dict[str, float]
    trivial: dict[str, float]
    reason: str | None = None


def run_attempt(
    job: Job,
    plan: AttemptPlan,
    placement: Placement,
    channel: Channel,
    checkpoints: str,
    stacks: Path,
) -> AttemptReturn:
    """Train until the end, an order to stop, or an exception (which passes through)."""
    spec = job.spec
    torch.set_num_threads(spec.train.threads or _fair_threads(placement))
    context = TaskContext(
        train=spec.train,
        data_dir=None if job.data_dir is None else Path(job.data_dir),
        cache_dir=Path(job.cache_dir),
        device=placement.device,
        rank=placement.rank,
        world_size=placement.world_size,
    )
    run, trivial_metrics = _training(job, context)
    session = Session(spec, plan, placement, channel, CheckpointStore(checkpoints), stacks)
    try:
        metrics = run(session)
    except BaseException:
        _log.exception("rank %d fails at step %d", placement.rank, session.step + 1)
        session.abandon()
        raise
    return AttemptReturn(
        session.step,
        session.stopped_by,
        metrics,
        dict(trivial_metrics()),
        session.early_stop_reason,
    )


def _training(
    job: Job, context: TaskContext
) -> tuple[Callable[[Session], dict[str, float]], Callable[[], Metrics]]:
    """Return what trains, the standard loop or the job's own, and what tells the trivial score."""
    loop = job.own_loop()
    if loop is None:
        task = job.task_class()(job.task_config, context)
        return partial(train, task), task.trivial_metrics

    def run(session: Session) -> dict[str, float]:
        metrics = dict(loop(session, context, job.task_config))
        session.end(metrics)
        return metrics

    return run, dict


def _fair_threads(placement: Placement) -> int:
    """Return the cores of this node for each rank; one at least."""
    return max(1, (os.cpu_count() or 1) // max(1, placement.local_world_size))
