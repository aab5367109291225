"""One rank's attempt from beginning to end: build the task, train, say how it ended.

Runs in: worker.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from runner.channel import Channel
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.job import Job
from runner.loop import train
from runner.recovery import AttemptPlan
from runner.session import Session
from runner.task import TaskContext
from watchdog.records import OrderKind

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AttemptReturn:
    """What a worker that came to an end by itself reports; plain data."""

    step: int
    stopped_by: OrderKind | None
    metrics: dict[str, float]
    trivial: dict[str, float]


def run_attempt(
    job: Job, plan: AttemptPlan, placement: Placement, channel: Channel, checkpoints: str
) -> AttemptReturn:
    """Train until the end, an order to stop, or an exception (which passes through)."""
    spec = job.spec
    torch.set_num_threads(spec.train.threads or _fair_threads(placement))
    task = job.task_class()(
        job.task_config,
        TaskContext(
            train=spec.train,
            data_dir=None if job.data_dir is None else Path(job.data_dir),
            cache_dir=Path(job.cache_dir),
            device=placement.device,
            rank=placement.rank,
            world_size=placement.world_size,
        ),
    )
    session = Session(spec, plan, placement, channel, CheckpointStore(checkpoints))
    try:
        metrics = train(task, session)
    except BaseException:
        _log.exception("rank %d fails at step %d", placement.rank, session.step + 1)
        session.abandon()
        raise
    return AttemptReturn(session.step, session.stopped_by, metrics, dict(task.trivial_metrics()))


def _fair_threads(placement: Placement) -> int:
    """Return the cores of this node for each rank; one at least."""
    return max(1, (os.cpu_count() or 1) // max(1, placement.local_world_size))
