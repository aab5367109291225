"""Which learning rate helps a run that is stuck: several are tried, and the losses decide.

A lower rate is not always the cure: one seed project stood still because its rate was ten times too
low. Each trial is compared with the one that kept the rate, step by step on the same samples, so
that the noise of the batches cancels out. The present rate is kept unless another one is better
beyond the noise that is left.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.baseline import median
from watchdog.trials import Trial

#: Chosen: one-sided 97.7 %, as for a plateau.
_STANDARD_ERRORS = 2.0
#: Chosen: less than this share of the loss is not worth another rate; as for a plateau.
_LEAST_GAIN = 0.005
#: Makes the median absolute deviation of a Gaussian its standard deviation.
_MAD_TO_SIGMA = 1.4826
#: The standard error of a median is this much larger than that of a mean. Source: Laplace 1818.
_MEDIAN_COST = math.sqrt(math.pi / 2)
#: Losses that a trial needs in each of its three thirds to be compared at all.
_LEAST_LOSSES = 4


@dataclass(frozen=True, slots=True)
class Gain:
    """By how much a trial is below another, as a share of the loss, and its standard error.

    `now` is what the last third shows, `ahead` what the trend promises one third later.
    """

    now: float
    ahead: float
    error: float

    def is_sure(self) -> bool:
        """Whether the trial is better beyond doubt, and by enough."""
        return self.ahead - _STANDARD_ERRORS * self.error > _LEAST_GAIN


@dataclass(frozen=True, slots=True)
class Choice:
    """The multiplier to go on with, the comparison behind it (one row a trial), and one sentence.

    A row has `lr_scale`, `loss` (median of the last third), `gain` and `error` against the trial
    that kept the rate (shares of the loss; None where they cannot be told), and `failure`.
    """

    lr_scale: float
    is_better: bool
    rows: tuple[Mapping[str, Any], ...]
    reason: str


def trial_scales(
    base_scale: float, multipliers: Sequence[float], *, max_lr: float | None, min_lr: float
) -> tuple[float, ...]:
    """Return the multipliers on the job's rate to try; those under the floor are left out."""
    scales = [base_scale * multiplier for multiplier in multipliers]
    return tuple(
        scale
        for multiplier, scale in zip(multipliers, scales, strict=True)
        if multiplier == 1 or max_lr is None or scale * max_lr >= min_lr
    )


def choose(trials: Sequence[Trial], base_scale: float, fallback_scale: float) -> Choice:
    """Return the best trial; `fallback_scale` if even the rate in force broke down.

    Trials are compared with the one at `base_scale`; where that failed, with the first that ran.
    """
    ran = [t for t in trials if not t.failure]
    keep = next((t for t in ran if t.lr_scale == base_scale), ran[0] if ran else None)
    if keep is None:
        why = f"every rate that was tried broke down; learning rate x {fallback_scale:g}"
        rows = tuple(_row(t, None) for t in trials)
        return Choice(fallback_scale, False, rows, f"{_sentence(rows)}; {why}")
    gains = {t.lr_scale: gain(t, keep) for t in ran if t is not keep}
    sure = {scale: g for scale, g in gains.items() if g is not None and g.is_sure()}
    rows = tuple(_row(t, gains.get(t.lr_scale)) for t in trials)
    if sure:
        best = max(sure, key=lambda scale: (sure[scale].ahead, -scale))
        return Choice(best, True, rows, f"{_sentence(rows)}; learning rate x {best:g} is best")
    why = f"none is better beyond the noise; learning rate x {keep.lr_scale:g} is kept"
    return Choice(keep.lr_scale, keep.lr_scale != base_scale, rows, f"{_sentence(rows)}; {why}")


def gain(trial: Trial, keep: Trial) -> Gain | None:
    """Return how much better `trial` is than `keep` on the steps that both trained; None: too few.

    The first third is left out: the rate is still being reached there.
    """
    steps = sorted(trial.losses.keys() & keep.losses.keys())
    third = len(steps) // 3
    if third < _LEAST_LOSSES:
        return None
    differences = _differences(
        [trial.losses[step] for step in steps], [keep.losses[step] for step in steps]
    )
    middle, last = differences[-2 * third : -third], differences[-third:]
    before, now = median(middle), median(last)
    sigma = max(_sigma(middle), _sigma(last))
    # 2 x last - middle: the variances add up to five times that of one median.
    error = math.sqrt(5 / third) * _MEDIAN_COST * sigma
    return Gain(now=-now, ahead=-(2 * now - before), error=error)


def _differences(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return by how much our losses lie above theirs: in logarithms where all are positive."""
    pairs = list(zip(ours, theirs, strict=True))
    if min(*ours, *theirs) > 0:
        return [math.log(a) - math.log(b) for a, b in pairs]
    size = max(median([abs(b) for b in theirs]), 1e-12)
    return [(a - b) / size for a, b in pairs]


def _sigma(values: Sequence[float]) -> float:
    middle = median(values)
    return _MAD_TO_SIGMA * median([abs(value - middle) for value in values])


def _row(trial: Trial, against: Gain | None) -> Mapping[str, Any]:
    losses = [trial.losses[step] for step in sorted(trial.losses)]
    return {
        "lr_scale": trial.lr_scale,
        "steps": trial.steps,
        "loss": median(losses[-max(1, len(losses) // 3) :]) if losses else None,
        "gain": against.ahead if against is not None else None,
        "error": against.error if against is not None else None,
        "failure": trial.failure or None,
    }


def _sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    tried = ", ".join(
        f"x {row['lr_scale']:g}: {'failed' if row['failure'] else _loss(row['loss'])}"
        for row in rows
    )
    return f"loss after equal trials from one checkpoint ({tried})"


def _loss(loss: float | None) -> str:
    return "unknown" if loss is None else f"{loss:.4g}"
