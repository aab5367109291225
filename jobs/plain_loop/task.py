"""A training loop of its own, in one file: plain PyTorch, and a session in a few places.

For those who have a loop and want to keep it. What the standard loop does for a `Task` is spelled
out here, so a run of this job is skipped, rolled back, resumed and restarted like any other. What
the session needs in return:

- samples by index, where `get(index, rng)` draws all its randomness from `rng`: then the session
  knows which samples were seen, can go back to any step, and can leave out the bad ones;
- forward through `session.model`, which on several workers is the model inside DDP;
- `backward`, `finish_step` and the end of the loop left to the session. The learning rate, the
  clipping, the optimizer's step and the checkpoints are its own, set under `train:` and
  `checkpoints:` in job.yaml.

Runs in: worker.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from runner.session import Session
from runner.task import TaskContext

POINTS = 512


class Spirals:
    """Points of two interleaved spirals: `x` is (2,), `y` is 0 or 1."""

    def __init__(self, noise: float) -> None:
        self._noise = noise

    def __len__(self) -> int:
        return POINTS

    def get(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Return one point; the noise is drawn anew each time."""
        turn = index // 2 / POINTS * 6.0 + 0.5
        angle = turn + np.pi * (index % 2)
        point = turn / 3.5 * np.array([np.cos(angle), np.sin(angle)])
        point += rng.normal(0.0, self._noise, 2)
        return {"x": point.astype(np.float32), "y": index % 2}


def train(session: Session, context: TaskContext, config: object) -> dict[str, float]:
    """Train until the session wants no more steps; return the metrics of the last validation."""
    torch.manual_seed(context.train.seed)  # the same weights on every rank
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
    model.append(nn.Linear(32, 2)).to(context.device)
    session.shard(model)  # train.strategy: fsdp replaces the parameters that the optimizer holds
    # fused=True lets a bad step be skipped on the device, without waiting for the host.
    optimizer = torch.optim.AdamW(model.parameters(), lr=context.train.lr, fused=True)
    session.begin(model, optimizer, Spirals(noise=0.05))

    metrics: dict[str, float] = {}
    while session.wants_step():
        batch = session.next_batch()
        loss = torch.zeros((), device=context.device)
        # One part, unless train.micro_batch_size asks for several forward passes a step.
        for number, (part, samples) in enumerate(batch.parts, start=1):
            part_loss = cross_entropy(session.model(part["x"]), part["y"])
            session.backward(part_loss, samples, is_last=number == len(batch.parts))
            loss += part_loss.detach() * (samples / batch.size)
        session.finish_step(loss)  # clip, step unless not finite, report, checkpoint, obey
        is_last = session.step == context.train.max_steps
        if session.step % context.train.eval_every_steps == 0 or is_last:
            metrics = validate(session, model, context)
    return metrics


def validate(session: Session, model: nn.Module, context: TaskContext) -> dict[str, float]:
    """Return loss and accuracy over all points; each rank scores its share of them."""
    started = time.perf_counter()
    mine = range(context.rank, POINTS, context.world_size)
    points = [Spirals(noise=0.0).get(index, np.random.default_rng(index)) for index in mine]
    x = torch.from_numpy(np.stack([point["x"] for point in points])).to(context.device)
    y = torch.tensor([point["y"] for point in points], device=context.device)
    with session.validating(), torch.no_grad():
        logits = model(x)
        losses = cross_entropy(logits, y, reduction="none").tolist()
        hits = (logits.argmax(1) == y).tolist()
    everything = session.gather(list(zip(losses, hits, strict=True)))  # the same on all ranks
    loss, accuracy = np.mean(everything, axis=0)
    metrics = {"val_loss": float(loss), "accuracy": float(accuracy)}
    session.report_evaluation(metrics, "accuracy", time.perf_counter() - started)
    return metrics


LOOP = train
