"""How many optimizer steps a record of a log stands for: one, ten, or an epoch of them.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from watchdog.baseline import median
from watchdog.steps import JudgedStep

#: Chosen: an epoch stands for this many steps where a log does not say how many it has.
_STEPS_PER_EPOCH = 100
#: Chosen: newest records whose distance is looked at; a hole in a log is outvoted.
_NEWEST_RECORDS = 16


def stride(history: Sequence[JudgedStep]) -> int:
    """Return how many optimizer steps lie between two of the newest records, as a median."""
    newest = list(history)[-_NEWEST_RECORDS:]
    gaps = [b.step - a.step for a, b in pairwise(newest)]
    epochs = [
        b.epoch - a.epoch
        for a, b in pairwise(newest)
        if a.epoch is not None and b.epoch is not None
    ]
    steps = median(gaps) if gaps else 1.0
    passed = median(epochs) if epochs else 0.0
    if not math.isfinite(passed) or passed < 0.5:
        return max(1, round(steps))
    return max(1, round(steps), round(_STEPS_PER_EPOCH * min(passed, 1e6)))
