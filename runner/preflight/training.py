"""A few optimizer steps on batches that stay the same.

Runs in: preflight's own process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from runner.preflight.bench import Bench
from runner.state import seed_step

Batch = Mapping[str, Any]


def train_on(
    bench: Bench,
    model: nn.Module,
    batches: Sequence[Batch],
    *,
    steps: int,
    lr_of: Callable[[int], float],
    limit_s: float,
    stop_above: float = math.inf,
) -> list[float]:
    """Return the loss before each step, and after the last; it ends early when time runs out.

    `lr_of(step)` from 0 is the rate; it also ends at a loss above `stop_above` or not finite.
    """
    optimizer = bench.task.build_optimizer(model)
    peak = [group["lr"] / bench.spec.train.lr for group in optimizer.param_groups]
    started = time.perf_counter()
    losses: list[float] = []
    for step in range(steps):
        for group, ratio in zip(optimizer.param_groups, peak, strict=True):
            group["lr"] = lr_of(step) * ratio
        losses.append(_step(bench, model, optimizer, batches[step % len(batches)]))
        is_over = time.perf_counter() - started > limit_s
        if is_over or not math.isfinite(losses[-1]) or losses[-1] > stop_above:
            break
    losses.append(loss_of(bench, model, batches[len(losses) % len(batches)]))
    return losses


def loss_of(bench: Bench, model: nn.Module, batch: Batch) -> float:
    """Return the loss of a batch without training; dropout draws what it draws at every call."""
    seed_step(bench.spec.train.seed, 1, 0)
    with torch.no_grad():
        return float(bench.loss(model, batch))


def _step(bench: Bench, model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    seed_step(bench.spec.train.seed, 1, 0)
    optimizer.zero_grad(set_to_none=True)
    loss = bench.loss(model, batch)
    bench.backward(loss, model)
    clip = bench.spec.train.clip_norm
    norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip is None else clip)
    if bool(torch.isfinite(norm)):
        optimizer.step()
    return float(loss.detach())
