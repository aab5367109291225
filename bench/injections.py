"""Faults put into healthy real losses, for what the labelled logs have too few of.

Sizes are in the noise of the log itself: one robust standard deviation of the (log) loss about its
trend over the 128 losses before the onset. Everything is deterministic.

The onset is where it falls, so some faults are none. A loss that falls steeply, or whose rate is
cut just then, is lower than before the onset soon after it, fault or not: it has healed. A plateau
where the rate has annealed is what the schedule wants, and one in a noise that hides all the
progress there was can be told by nobody. `is_visible` says which are left.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from watchdog.baseline import Baseline, fit, median
from watchdog.foreign import Row

#: Losses before the onset and after it: what a verdict may need, little enough to stay quick.
_BEFORE, _AFTER = 2000, 400
_BLOOM_UP = (0.05, 0.2, 0.6, 1.0)

#: (loss as logged, losses since the onset, picture of the run before it, random) -> loss
Fault = Callable[[float, int, Baseline, random.Random], float]


@dataclass(frozen=True, slots=True)
class Injected:
    """Rows with a fault in them; `onset` is the number of the first bad one.

    `is_visible`: a person who sees the curve would call it a fault (see the module).
    """

    rows: tuple[Row, ...]
    onset: int
    is_visible: bool


def _nan(loss: float, k: int, picture: Baseline, rng: random.Random) -> float:
    return math.nan if k < 8 else loss


def _bloom(loss: float, k: int, picture: Baseline, rng: random.Random) -> float:
    """2.20 to 5.10 in four steps and back to 2.22 thirty steps later, as in a real run."""
    height = _BLOOM_UP[k] if k < 4 else 0.007 ** ((k - 3) / 26)
    return loss * (1 + 1.32 * height) if k < 60 else loss


def _late(loss: float, k: int, picture: Baseline, rng: random.Random) -> float:
    """As high, and back within a tenth of its height only at the 28th loss."""
    height = _BLOOM_UP[k] if k < 4 else 0.1 ** ((k - 3) / 25) if k < 29 else 0.0
    return loss * (1 + 1.32 * height)


def _twice(loss: float, k: int, picture: Baseline, rng: random.Random) -> float:
    """Twice the same, the second beginning twenty losses after the first."""
    return (
        _bloom(_bloom(loss, k, picture, rng), k - 20, picture, rng)
        if k >= 20
        else (_bloom(loss, k, picture, rng))
    )


def _unrecovered(loss: float, k: int, picture: Baseline, rng: random.Random) -> float:
    """The same rise, or twelve standard deviations, which comes back only half of the way."""
    height = _BLOOM_UP[k] if k < 4 else max(0.5, 0.007 ** ((k - 3) / 26))
    return _raised(loss, height * max(math.log(2.32), 12 * picture.noise), picture)


def _shift(sigmas: float) -> Fault:
    def shifted(loss: float, k: int, picture: Baseline, rng: random.Random) -> float:
        return _raised(loss, sigmas * picture.noise, picture)

    return shifted


def _drift(loss: float, k: int, picture: Baseline, rng: random.Random) -> float:
    """One standard deviation in twenty losses."""
    return _raised(loss, 0.05 * k * picture.noise, picture)


def _plateau(loss: float, k: int, picture: Baseline, rng: random.Random) -> float:
    """The level of the onset with Gaussian noise of the same size, for ever."""
    level = picture.forecast(picture.anchor_step)
    return _raised(level, rng.gauss(0.0, picture.noise), picture)


def _dead(loss: float, k: int, picture: Baseline, rng: random.Random) -> float:
    return picture.forecast(picture.anchor_step)


def _raised(loss: float, by: float, picture: Baseline) -> float:
    return loss * math.exp(min(by, 50.0)) if picture.is_log else loss + by


#: The validations of the healthy run would contradict the fault; they end at the onset.
FAULTS: Mapping[str, Fault] = {
    "NaN": _nan,
    "spike that heals": _bloom,
    "heals late": _late,
    "two that heal": _twice,
    "spike, unrecovered": _unrecovered,
    "shift of 4 sigma": _shift(4.0),
    "shift of 2 sigma": _shift(2.0),
    "drift": _drift,
    "plateau": _plateau,
    "dead loss": _dead,
}

#: The faults that must not be acted on.
HEALING = frozenset({"spike that heals", "heals late", "two that heal"})
#: Faults that raise the level of the loss.
_RAISING = frozenset({"spike, unrecovered", "shift of 4 sigma", "shift of 2 sigma", "drift"})
#: Chosen: losses after the onset that show whether a raised level still stands.
_STANDS = slice(24, 48)
#: Chosen: fewer losses before the onset say little of the noise, fewer after it of the end.
_LEAST_BEFORE, _LEAST_AFTER = 64, 64
#: Chosen: what a flat stretch must have lost to be told, in standard errors of its halves.
_TELLING_ERRORS = 5.0
#: Chosen: a rate below this share of its peak has annealed.
_ANNEALED = 0.3


def inject(name: str, rows: Sequence[Row], seed: str) -> Injected | None:
    """Return the rows with the fault at three fifths of them; None if there are too few losses.

    A plateau follows on the first half of the run and lasts as long as it did: it has to be a large
    share of the run to be told from slow progress.
    """
    training = [row for row in rows if row.loss is not None and math.isfinite(row.loss)]
    if len(training) < 150:
        return None
    if name == "plateau":
        training = training[: 2 * _BEFORE]
        onset = len(training) // 3
    else:
        onset = min(_BEFORE, 3 * len(training) // 5)
        training = training[: onset + _AFTER]
    losses = [row.loss for row in training if row.loss is not None]
    picture = fit(list(enumerate(losses[max(0, onset - 128) : onset])), 0.001)
    if picture is None or not math.isfinite(picture.noise):
        return None
    rng = random.Random(seed + name)
    fault = FAULTS[name]
    bad = tuple(
        dataclasses.replace(
            row,
            loss=fault(losses[onset + k], k, picture, rng),
            val_loss=None,
            val_metric=None,
        )
        for k, row in enumerate(training[onset:])
    )
    raised = [row.loss for row in bad if row.loss is not None]
    return Injected(
        rows=(*training[:onset], *bad),
        onset=onset,
        is_visible=_is_visible(name, training, onset, raised, picture),
    )


def _is_visible(
    name: str, healthy: Sequence[Row], onset: int, bad: Sequence[float], picture: Baseline
) -> bool:
    before = [picture.scaled(row.loss) for row in healthy[:onset] if row.loss is not None]
    after = [picture.scaled(row.loss) for row in healthy[onset:] if row.loss is not None]
    if len(before) < _LEAST_BEFORE or len(after) < _LEAST_AFTER:
        return False
    if name in _RAISING:
        seen = slice(-48, None) if name == "drift" else _STANDS
        raised = [picture.scaled(loss) for loss in bad][seen]
        size = median(raised) - median(after[seen])
        return median(raised) - median(before[-16:]) >= size / 2
    if name == "plateau":
        error = picture.noise * math.sqrt(2 / (len(after) / 2))
        lost = median(before[-16:]) - median(after[-len(after) // 3 :])
        return lost >= _TELLING_ERRORS * error and not _is_annealed(healthy, onset)
    return True


def _is_annealed(rows: Sequence[Row], onset: int) -> bool:
    """Whether the rate is low for more than half of what follows the onset."""
    rates = [row.lr for row in rows if row.lr is not None and math.isfinite(row.lr)]
    later = [row.lr for row in rows[onset:] if row.lr is not None]
    return bool(later) and median(later) < _ANNEALED * max(rates)
