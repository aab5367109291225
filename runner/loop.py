"""The standard training loop over a `Task`; it reads from top to bottom.

Runs in: worker.
"""

from __future__ import annotations

import time

import torch
from torch import nn

from runner.batches import RankBatch
from runner.build import Build
from runner.ensemble import Ensemble
from runner.session import Session
from runner.task import Task


def train(task: Task, session: Session, build: Build | None = None) -> dict[str, float]:  # type: ignore[type-arg]
    """Train until the last step or an order to stop; return the metrics of the last validation."""
    train_spec = session.spec.train
    build = build or Build(task, train_spec, session.placement.device)
    build.renew(session.shard)
    model = build.model
    session.begin(model, build.optimizer, build.source, start_over=build.start_over)
    metrics: dict[str, float] = {}
    model.train()
    if session.owes_validation:
        metrics = evaluate(task, session, model)
    while session.wants_step():
        batch = session.next_batch()
        loss = _forward_backward(task, session, batch)
        session.finish_step(loss)
        is_last = session.step == train_spec.max_steps
        if session.step % train_spec.eval_every_steps == 0 or is_last:
            metrics = evaluate(task, session, model)
    if session.stopped_by is None and train_spec.ensemble_checkpoints:
        metrics |= evaluate_ensemble(task, session, model)
    session.end(metrics)
    return metrics


def _forward_backward(
    task: Task,  # type: ignore[type-arg]
    session: Session,
    batch: RankBatch,
) -> torch.Tensor:
    """Return the rank's mean loss; the gradients are left in the model, averaged over ranks."""
    task.begin_step(session.step + 1)
    total = torch.zeros((), device=session.placement.device)
    for number, (part, samples) in enumerate(batch.parts, start=1):
        with session.placement.cast():
            loss = task.training_step(session.model, part)
        session.backward(loss, samples, is_last=number == len(batch.parts))
        total += loss.detach().float() * (samples / batch.size)
    return total


def evaluate(task: Task, session: Session, model: nn.Module) -> dict[str, float]:  # type: ignore[type-arg]
    """Validate: the items are shared out among the ranks, the metrics are the same on all."""
    started = time.perf_counter()
    metrics = _scores(task, session, model)
    session.report_evaluation(metrics, task.metric, time.perf_counter() - started)
    return metrics


def evaluate_ensemble(task: Task, session: Session, model: nn.Module) -> dict[str, float]:  # type: ignore[type-arg]
    """Validate the mean output of the model and of its newest durable checkpoints."""
    states = session.saved_models(session.spec.train.ensemble_checkpoints - 1)
    scores = _scores(task, session, Ensemble.of(model, states))
    return {f"ensemble_{name}": value for name, value in scores.items()}


def _scores(task: Task, session: Session, model: nn.Module) -> dict[str, float]:  # type: ignore[type-arg]
    place = session.placement
    model.eval()
    with session.validating(), torch.no_grad(), place.cast():
        mine = [
            (index, task.evaluate(model, index))
            for index in range(place.rank, task.validation_size(), place.world_size)
        ]
    model.train()
    items = [item for _, item in sorted(session.gather(mine), key=lambda pair: pair[0])]
    return task.summarize(items)
