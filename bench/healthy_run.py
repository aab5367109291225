"""The records of a long healthy run on any number of ranks, made up as they are asked for.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from watchdog.records import (
    AttemptStarted,
    CheckpointSaved,
    EvalReport,
    Record,
    RunStarted,
    StepReport,
    Storage,
)

_SAMPLES = 8
_MEMORY_EVERY, _DURABLE_EVERY, _EVAL_EVERY = 50, 1000, 500


def start(ranks: int) -> Iterator[Record]:
    """Yield what begins a run."""
    yield RunStarted(t_s=0.0, run_id="bench", job="bench", max_steps=10**9)
    yield AttemptStarted(t_s=0.0, attempt=0, world_size=ranks, dataset_size=1_000_003)


def steps(ranks: int, seed: int = 0, step_s: float = 1.0) -> Iterator[Record]:
    """Yield reports, checkpoints and validations for ever; the loss falls like a power of the step.

    Its noise is log-normal with a tail, and one step in a thousand is a hard batch.
    """
    rng = random.Random(seed)
    step = 0
    while True:
        step += 1
        level = 0.5 + 3.0 * step**-0.3
        shared = rng.gauss(0.0, 0.02) + (1.0 if rng.random() < 0.001 else 0.0)
        norm = math.exp(rng.gauss(0.0, 0.3))
        first = step * ranks * _SAMPLES
        for rank in range(ranks):
            yield StepReport(
                t_s=step * step_s + rank * step_s / (2 * ranks),
                attempt=0,
                generation=0,
                rank=rank,
                step=step,
                epoch=step / 1000,
                loss=level * math.exp(shared + rng.gauss(0.0, 0.01)),
                grad_norm=norm,
                lr=1e-3,
                scheduled_lr=1e-3,
                step_s=step_s * (1 + 0.05 * rng.random()),
                data_s=0.02 * step_s,
                samples=_SAMPLES,
                sample_ids=tuple(range(first + rank * _SAMPLES, first + (rank + 1) * _SAMPLES)),
            )
        yield from _between(step, step_s, level)


def _between(step: int, step_s: float, level: float) -> Iterator[Record]:
    t_s = (step + 0.6) * step_s
    if step % _MEMORY_EVERY == 0:
        storage = Storage.DURABLE if step % _DURABLE_EVERY == 0 else Storage.MEMORY
        yield CheckpointSaved(t_s=t_s, attempt=0, generation=0, step=step, storage=storage)
    if step % _EVAL_EVERY == 0:
        yield EvalReport(
            t_s=t_s,
            attempt=0,
            generation=0,
            step=step,
            val_loss=1.1 * level,
            val_metric=1 - level / 4,
        )
