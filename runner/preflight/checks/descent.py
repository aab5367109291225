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
_SCALES = (0.1, 0.01, 0.001)


def check(bench: Bench) -> Iterator[Finding]:
    """Take the run's first step; if it does not lower the loss, one at the peak and smaller ones.

    The peak, because the first rate of a warm-up may change less than a float can show.
    """
    before = bench.first_loss
    train = bench.spec.train
    first = scheduled_lr(1, train)
    tried = {first: _after(bench, first)}
    for rate in (train.lr, *(scale * first for scale in _SCALES)):
        if min(tried.values()) < before:
            break
        tried[rate] = _after(bench, rate)
    lowering = [rate for rate, after in tried.items() if after < before]
    if not lowering:
        yield failed(
            f"one step does not lower the loss of its own batch: {before:.4g} becomes "
            + ", ".join(f"{after:.4g} at rate {rate:.3g}" for rate, after in tried.items()),
            "the gradient does not belong to the loss: look for a sign, a detach, or an optimizer "
            "of other parameters",
        )
        return
    [rate] = lowering
    text = f"loss {before:.4g} to {tried[rate]:.4g} by one step at rate {rate:.3g}"
    if rate >= first:
        yield passed(text, step_gain=before - tried[rate])
        return
    yield warned(
        f"the first step at rate {first:.3g} raises the loss; {text}",
        f"lower train.lr, or raise train.warmup_steps={train.warmup_steps}",
        step_gain=before - tried[rate],
    )


def _after(bench: Bench, rate: float) -> float:
    """Return the loss of the small batch after one step on it."""
    model, batch = bench.fresh_model(), bench.small_batch
    return train_on(bench, model, [batch], steps=1, lr_of=lambda step: rate, limit_s=30.0)[-1]
