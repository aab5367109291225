"""Speed, and an honest estimate of how long the run will take.

It is measured alone, on this machine, for some steps; it leaves out the averaging over ranks of
several machines, and other work that comes later. So it is told as a range.

Runs in: preflight's own process.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator

from runner.plain_words import duration
from runner.preflight.bench import Bench, synchronise
from runner.preflight.findings import Finding, passed
from runner.preflight.training import train_on

ORDER = 60
TITLE = "speed"

_LIMIT_S = 5.0
#: Starting Ray, the workers and the watchdog. Chosen: about what two cores take; 0 in process.
_START_S = 10.0
#: Chosen: a guess at what a quiet and a busy machine make of the estimate; not measured.
_BEST, _WORST = 0.8, 1.6


def check(bench: Bench) -> Iterator[Finding]:
    """Time a rank's share of some steps and multiply."""
    bench.first_loss  # noqa: B018  # raises when there is none
    train = bench.spec.train
    compute_s = _compute_s(bench)
    per_rank = -(-train.batch_size // bench.ranks)
    data_s = per_rank * statistics.median(s.seconds for s in bench.samples)
    loaders = bench.spec.data.loader_workers
    step_s = compute_s + data_s if not loaders else max(compute_s, data_s / loaders)
    step_s *= _crowding(bench)
    total_s = _START_S + train.max_steps * step_s + _validations_s(bench)
    low, high = _BEST * total_s, _WORST * total_s
    epoch_steps = len(bench.source) / train.batch_size
    yield passed(
        f"a step takes {duration(step_s)} ({data_s / (compute_s + data_s):.0%} of it data), the "
        f"run of {train.max_steps:,} steps ({train.max_steps / epoch_steps:.3g} epochs) about "
        f"{duration(total_s)}, from {duration(low)} to {duration(high)}",
        step_s=step_s,
        data_s=data_s,
        estimate_s=total_s,
        epoch_steps=epoch_steps,
    )


def _compute_s(bench: Bench) -> float:
    """Return the seconds of forward, backward and update of a rank's share of a step."""
    train = bench.spec.train
    per_rank = -(-train.batch_size // bench.ranks)
    micro = min(per_rank, train.micro_batch_size or per_rank)
    parts = -(-per_rank // micro)
    batch = bench.batch_of(micro)
    model = bench.fresh_model()
    took = []
    deadline = time.perf_counter() + _LIMIT_S
    for _ in range(12):
        started = time.perf_counter()
        train_on(bench, model, [batch], steps=1, lr_of=lambda step: 0.0, limit_s=_LIMIT_S)
        synchronise(bench.device)
        took.append(time.perf_counter() - started)
        if time.perf_counter() > deadline:
            break
    # train_on ends with one more forward pass, which is about a third of a step.
    return statistics.median(took[1:] or took) * parts * 0.75


def _crowding(bench: Bench) -> float:
    """Return how often the ranks of this machine want more cores than there are."""
    if bench.device.type != "cpu":
        return 1.0
    return max(1.0, bench.ranks * bench.threads / (os.cpu_count() or 1))


def _validations_s(bench: Bench) -> float:
    item = bench.validation_item_s
    if item is None:
        return 0.0
    train = bench.spec.train
    count = -(-train.max_steps // train.eval_every_steps)
    return count * item * -(-bench.task.validation_size() // bench.ranks) * _crowding(bench)
