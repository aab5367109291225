"""How fast a run goes, from the times its own records bear.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import deque

#: Chosen: the rate answers a change within half a minute and does not jump with each step.
_RATE_WINDOW_S = 30.0


class StepRate:
    """Steps a second over the last half minute; a rollback starts it anew."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def add(self, t_s: float, step: int) -> None:
        """Note that `step` was reached at `t_s` (Unix seconds)."""
        if self._points and step < self._points[-1][1]:
            self._points.clear()
        if not self._points or t_s > self._points[-1][0]:
            self._points.append((t_s, step))
        while len(self._points) > 2 and t_s - self._points[0][0] > _RATE_WINDOW_S:
            self._points.popleft()

    @property
    def steps_per_s(self) -> float | None:
        """The rate, or None while there is too little to tell."""
        if len(self._points) < 2:
            return None
        (first_s, first), (last_s, last) = self._points[0], self._points[-1]
        return (last - first) / (last_s - first_s) if last > first else None
