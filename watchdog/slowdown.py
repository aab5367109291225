"""How much slower a curve falls than it fell before: a run's own earlier progress as the measure.

A loss falls like a power of the step, by about as much from step 100 to 200 as from 200 to 400. So
the newest share of a run is compared with the stretch before it that is as long on a logarithmic
scale. That tells a stall in a noise of any size, as long as the earlier fall stands out of it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from watchdog.curve import Block, regroup
from watchdog.trend import Progress, progress, scale

#: Chosen: enough for a standard error, few enough that neighbours alike do not fake a small one.
_GROUPS = 16
#: Chosen: fewer blocks do not say how fast it fell.
_LEAST_BLOCKS = 8


@dataclass(frozen=True, slots=True)
class Slowdown:
    """What the newest stretch fell by, and what the one before it surely did."""

    newest: Progress
    earlier_fall: float

    def is_stalled(self, ratio: float, least: float, errors: float) -> bool:
        """Whether the newest stretch surely moved less than `ratio` of the earlier fall.

        And not surely by more than `least`: a tenth is progress, however fast it was before.
        """
        if self.newest.is_surely_above(least, errors):
            return False
        return self.newest.is_surely_flat(ratio * self.earlier_fall, errors)


def slowdown(blocks: Sequence[Block], share: float, errors: float) -> Slowdown | None:
    """Compare the newest `share` of the blocks with the stretch before; None for too few.

    The earlier fall is counted down by `errors` standard errors, and as none where one step made
    most of it: where a rate was cut, that is no pace.
    """
    count = len(blocks)
    start = round(count * (1 - share))
    newest, earlier = blocks[start:], blocks[round(count * (1 - share) ** 2) : start]
    if len(newest) < _GROUPS or len(earlier) < _LEAST_BLOCKS:
        return None
    before = _progress(earlier)
    fall = 0.0 if _is_one_step(earlier) else before.fall - errors * before.error
    return Slowdown(_progress(newest), max(0.0, fall))


def _progress(blocks: Sequence[Block]) -> Progress:
    """Return the fall between the halves, with the larger of two estimates of its error.

    Neighbouring blocks may be alike (running averages), which groups of them are not.
    """
    fine = progress([block.loss for block in blocks])
    coarse = progress([block.loss for block in regroup(list(blocks), _GROUPS)])
    return Progress(fine.fall, max(fine.error, coarse.error))


def _is_one_step(blocks: Sequence[Block]) -> bool:
    """Whether one step made most of the fall."""
    scaled = scale([block.loss for block in regroup(list(blocks), _GROUPS)])
    return max(a - b for a, b in itertools.pairwise(scaled)) > (scaled[0] - scaled[-1]) / 2
