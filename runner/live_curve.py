"""A curve of a living run in bounded memory, which a rollback takes back.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import deque

#: Chosen: a wide terminal has 400 columns of dots; twice that loses nothing the eye would see.
MAX_POINTS = 1024
_MAX_SUPERSEDED = 1024


class LiveCurve:
    """Values over steps; past `MAX_POINTS` two neighbours become their mean, again and again.

    What a rollback superseded is kept apart, bounded too, to be drawn faint.
    """

    def __init__(self, max_points: int = MAX_POINTS) -> None:
        self._max_points = max_points
        self._width_steps = 1
        # Of each stretch of steps: its number, the sum and the count of its values.
        self._stretches: list[tuple[int, float, int]] = []
        self._superseded: deque[tuple[float, float]] = deque(maxlen=_MAX_SUPERSEDED)

    def add(self, step: int, value: float | None) -> None:
        """Take in the value of a step, once a rank; what is unknown or not finite is left out."""
        if value is None or not math.isfinite(value):
            return
        stretch = step // self._width_steps
        if self._stretches and self._stretches[-1][0] >= stretch:
            number, total, count = self._stretches[-1]
            self._stretches[-1] = (number, total + value, count + 1)
            return
        self._stretches.append((stretch, value, 1))
        if len(self._stretches) > self._max_points:
            self._halve()

    def take_back(self, restored_step: int) -> None:
        """Set what lies beyond `restored_step` aside as superseded."""
        kept = [s for s in self._stretches if s[0] * self._width_steps <= restored_step]
        self._superseded.append((restored_step, math.nan))  # one branch does not lead into another
        self._superseded.extend(map(self._point, self._stretches[len(kept) :]))
        self._stretches = kept

    @property
    def points(self) -> list[tuple[float, float]]:
        """The curve that counts, by step."""
        return [self._point(stretch) for stretch in self._stretches]

    @property
    def superseded(self) -> list[tuple[float, float]]:
        """What was taken back, as it was made; NaN parts one branch from the next."""
        return list(self._superseded)

    def _point(self, stretch: tuple[int, float, int]) -> tuple[float, float]:
        number, total, count = stretch
        return (number * self._width_steps + (self._width_steps - 1) / 2, total / count)

    def _halve(self) -> None:
        self._width_steps *= 2
        merged: list[tuple[int, float, int]] = []
        for number, total, count in self._stretches:
            if merged and merged[-1][0] == number // 2:
                merged[-1] = (number // 2, merged[-1][1] + total, merged[-1][2] + count)
            else:
                merged.append((number // 2, total, count))
        self._stretches = merged
