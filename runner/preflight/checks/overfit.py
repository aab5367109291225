"""Overfitting: some dozens of steps on one small batch must bring its loss down.

A model that cannot learn four samples by heart will not learn the set.

Runs in: preflight's own process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, failed, passed, unchecked, warned
from runner.preflight.training import train_on

ORDER = 45
TITLE = "overfit"

#: Chosen: the template job and the vesuvius job need 20 and 30 for a third of their loss.
_STEPS = 60
_LIMIT_S = 8.0
#: Chosen: healthy jobs lose a tenth or more, a dead one nothing. In fewer steps than these, which a
#: slow machine may not get to in the time, the one cannot be told from the other.
_GOOD, _DEAD, _ENOUGH_STEPS = 0.1, 0.001, 30
#: A model that begins far below a constant's loss (one that adds to an upsampled image) has little
#: left to learn at once. Chosen: half.
_HEAD_START = 0.5


def check(bench: Bench) -> Iterator[Finding]:
    """Train on the small batch at the run's peak rate, reached over five steps."""
    first = bench.first_loss
    rate = bench.spec.train.lr
    losses = train_on(
        bench,
        bench.fresh_model(),
        [bench.small_batch],
        steps=_STEPS,
        lr_of=lambda step: rate * min(1.0, (step + 1) / 5),
        limit_s=_LIMIT_S,
    )
    steps = len(losses) - 1
    if not math.isfinite(losses[-1]):
        yield failed(
            f"the loss of one batch is {losses[-1]} after {steps} steps at rate {rate:g}",
            "lower train.lr, set train.clip_norm=1.0, raise train.warmup_steps",
        )
        return
    best = min(losses)
    gain = (first - best) / max(abs(first), 1e-12)
    text = f"loss of one batch {first:.4g} to {best:.4g} in {steps} steps at rate {rate:g}"
    numbers = {"overfit_gain": gain, "overfit_steps": float(steps)}
    has_head_start = bench.floor_loss is not None and first < _HEAD_START * bench.floor_loss
    if gain < _GOOD and steps < _ENOUGH_STEPS:
        yield unchecked(f"{text}, which is what {_LIMIT_S:g} s were enough for: too few to tell")
    elif has_head_start and gain > 0:
        yield passed(f"{text}; it begins well below a constant's {bench.floor_loss:.4g}", **numbers)
    elif gain < _DEAD:
        yield failed(
            f"{text}: nothing is learned",
            "check that output, target and loss belong together; try train.lr ten times higher and "
            "lower (make preflight LR_RANGE=1)",
            **numbers,
        )
    elif gain < _GOOD:
        yield warned(
            f"{text}: slow",
            "the rate may be too low or too high; make preflight LR_RANGE=1 shows it",
            **numbers,
        )
    else:
        yield passed(text, **numbers)
