"""The learning-rate range test: one short run over growing rates. Only when it is asked for.

Source: Smith 2017, Cyclical learning rates for training neural networks (arXiv:1506.01186).

Runs in: preflight's own process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from runner.preflight.bench import Bench
from runner.preflight.findings import Finding, passed, unchecked, warned
from runner.preflight.training import train_on

ORDER = 70
TITLE = "learning-rate range"

_LEAST, _GREATEST, _STEPS = 1e-6, 1.0, 96
_LIMIT_S = 40.0
_BATCHES = 4
#: Chosen: the useful rates span about a factor of thirty to either side of the steepest.
_TOO_FAR = 30.0


def check(bench: Bench) -> Iterator[Finding]:
    """Sweep the rate upwards and say where the loss falls fastest and where it breaks."""
    if not bench.lr_range:
        return
    first = bench.first_loss
    count = max(1, len(bench.good_samples) // _BATCHES)
    batches = [bench.batch_of(count, i * count) for i in range(_BATCHES)]
    losses = train_on(
        bench,
        bench.fresh_model(),
        batches,
        steps=_STEPS,
        lr_of=rate_at,
        limit_s=_LIMIT_S,
        stop_above=first + 3.0 * abs(first) + 1.0,
    )
    yield judge(losses[:-1], bench.spec.train.lr)


def rate_at(step: int) -> float:
    """Return the rate of a step of the sweep: geometric."""
    return float(_LEAST * (_GREATEST / _LEAST) ** (step / (_STEPS - 1)))


def judge(losses: Sequence[float], lr: float) -> Finding:
    """Return the finding on the losses of a sweep and the run's peak rate."""
    smooth = _smooth([loss for loss in losses if math.isfinite(loss)])
    if len(smooth) < 16:
        return unchecked(f"the sweep broke after {len(smooth)} steps, at rate {rate_at(0):.2g}")
    lowest = min(range(len(smooth)), key=smooth.__getitem__)
    falls = [smooth[i] - smooth[i + 4] for i in range(max(1, lowest - 3))]
    if max(falls) <= 0:
        return warned(
            "the loss falls at no rate of the sweep",
            "the other findings say why; a rate does not repair it",
        )
    steepest = rate_at(max(range(len(falls)), key=falls.__getitem__) + 2)
    ends = rate_at(len(smooth) - 1) if len(smooth) < _STEPS else _GREATEST
    text = (
        f"the loss falls fastest at rate {steepest:.2g}, is lowest at {rate_at(lowest):.2g}"
        + (f" and breaks at {ends:.2g}" if len(smooth) < _STEPS else "")
        + f"; train.lr is {lr:.2g}"
    )
    numbers = {"lr_steepest": steepest, "lr_lowest": rate_at(lowest)}
    if lr > rate_at(lowest) or lr < steepest / _TOO_FAR:
        side = "high" if lr > rate_at(lowest) else "low"
        return warned(f"{text}: too {side}", f"try train.lr={steepest:.1g}", **numbers)
    return passed(text, **numbers)


def _smooth(losses: Sequence[float]) -> list[float]:
    """Return a running mean that gives the newest loss a fifth, corrected at the start."""
    mean, found = 0.0, []
    for step, loss in enumerate(losses, start=1):
        mean = 0.8 * mean + 0.2 * loss
        found.append(mean / (1 - 0.8**step))
    return found
