"""One optimizer step: does it lower the loss of the very batch it was computed from?

Runs in: preflight's own process.
"""

from __future__ import annotations

from collections.abc import Iterator

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, failed, passed, warned
from runner.preflight.training import train_on
from runner.schedule import scheduled_lr

ORDER = 43
TITLE = "one step"

#: Smaller and smaller: a gradient that is right lowers the loss at one of them.
_SCALES = (1.0, 0.1, 0.01, 0.001)


def check(bench: Bench) -> Iterator[Finding]:
    """Take the run's first step, and smaller ones if it does not lower the loss."""
    before = bench.first_loss
    rate, after = scheduled_lr(1, bench.spec.train), before
    for scale in _SCALES:
        losses = train_on(
            bench,
            bench.fresh_model(),
            [bench.small_batch],
            steps=1,
            lr_of=lambda step, scale=scale: rate * scale,  # type: ignore[misc]
            limit_s=30.0,
        )
        after = losses[-1]
        if after < before:
            yield _lowered(before, after, rate, scale, bench.spec.train.warmup_steps)
            return
    yield failed(
        f"one step does not lower the loss of its own batch: {before:.4g} to {after:.4g} at rate "
        f"{rate * _SCALES[-1]:.3g}, and no better at {rate:.3g}",
        "the gradient does not belong to the loss: look for a sign, a detach, or an optimizer of "
        "other parameters",
    )


def _lowered(before: float, after: float, rate: float, scale: float, warmup: int) -> Finding:
    text = f"loss {before:.4g} to {after:.4g} by one step at rate {rate * scale:.3g}"
    if scale == 1.0:
        return passed(text, step_gain=before - after)
    return warned(
        f"the first step at rate {rate:.3g} raises the loss; {text}",
        f"lower train.lr, or raise train.warmup_steps={warmup}",
        step_gain=before - after,
    )
