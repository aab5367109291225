"""The gradient norm of the newest steps, and what is usual for it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import deque

from watchdog.baseline import median
from watchdog.steps import JudgedStep


class Gradients:
    """Norms before clipping. `newest` holds (step, norm); NaN is kept, unknown is not.

    `floor` is a norm that was usual some steps ago: what is below it needs no closer look.
    """

    def __init__(self, newest: int = 8, usual: int = 64) -> None:
        self.newest: deque[tuple[int, float]] = deque(maxlen=newest)
        self.greatest = 0.0
        self.last_positive: float | None = None
        self.floor = math.inf
        self._usual: deque[float] = deque(maxlen=usual)

    def add(self, judged: JudgedStep) -> None:
        """Take a step in."""
        norm = judged.grad_norm
        if norm is None:
            return
        if len(self.newest) == self.newest.maxlen and math.isfinite(self.newest[0][1]):
            self._usual.append(self.newest[0][1])
            self.floor = 2 * self.newest[0][1]
        self.newest.append((judged.step, norm))
        if math.isfinite(norm) and norm > 0:
            self.greatest = max(self.greatest, norm)
            self.last_positive = norm

    def usual(self) -> tuple[float, float] | None:
        """Return the median and the greatest of the usual norms; None before 32 are known."""
        if len(self._usual) < 32:
            return None
        return median(self._usual), max(self._usual)

    def clear(self) -> None:
        """Forget the newest: their steps are superseded."""
        self.newest.clear()
