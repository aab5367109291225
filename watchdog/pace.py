"""How long steps take: for the whole run, to notice silence, and for each rank.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import deque

from watchdog.baseline import median
from watchdog.records import StepReport

#: Chosen: enough steps for a median, few enough that ten thousand ranks fit into some megabytes.
_REMEMBERED = 16
#: Chosen: as many ranks as a run may have; more are garbage.
_MAX_RANKS = 65536
#: Chosen: ticks come once a second. A longer gap is a machine that slept or a watchdog that was
#: away, and nobody listened: that is no silence of the run.
_MAX_GAP_S = 30.0


class Heartbeat:
    """How long nothing was heard of the run's progress, and how long a step usually takes.

    `phase` is starting until the first step of an attempt, then training. A validation or a
    checkpoint counts as progress; the time it took is not the time of a step. `silence_s` is added
    up from tick to tick, so that clocks of workers and watchdog that disagree, and a watchdog that
    was away, do not look like silence. `beats` counts what was heard.
    """

    def __init__(self) -> None:
        self.phase = "starting"
        self.silence_s = 0.0
        self.beats = 0
        self._last_t_s: float | None = None
        self._now_t_s: float | None = None
        self._intervals: deque[float] = deque(maxlen=4 * _REMEMBERED)
        self._is_step_last = False

    def begin(self, t_s: float) -> None:
        """Begin an attempt; what is known of its pace is kept."""
        self.phase, self._is_step_last = "starting", False
        self.silence_s = 0.0
        self._last_t_s = self._now_t_s = t_s

    def beat(self, t_s: float, *, is_step: bool) -> None:
        """Take progress in; a time that is not finite, or goes back, tells no pace."""
        self.silence_s = 0.0
        self.beats += 1
        last_t_s = self._last_t_s
        if is_step:
            self.phase = "training"
            if self._is_step_last and last_t_s is not None and t_s >= last_t_s:
                self._intervals.append(t_s - last_t_s)
        self._is_step_last = is_step
        if math.isfinite(t_s):
            self._last_t_s = self._now_t_s = t_s

    def tick(self, t_s: float) -> None:
        """Take the clock in."""
        if not math.isfinite(t_s):
            return
        if self._now_t_s is not None:
            self.silence_s += min(max(0.0, t_s - self._now_t_s), _MAX_GAP_S)
        self._now_t_s = t_s

    @property
    def usual_s(self) -> float | None:
        """Return the median time from step to step; None before four are known."""
        return median(self._intervals) if len(self._intervals) >= 4 else None


class RankPace:
    """The newest step times of each rank, in seconds; bounded by the number of ranks."""

    def __init__(self) -> None:
        self._step_s: dict[int, deque[float]] = {}
        self._data_s: dict[int, deque[float]] = {}
        self._own_s: dict[int, deque[float]] = {}

    def note(self, report: StepReport) -> None:
        """Remember the times of a report."""
        _append(self._step_s, report.rank, report.step_s)
        _append(self._data_s, report.rank, report.data_s)
        _append(self._own_s, report.rank, report.own_s)

    def clear(self) -> None:
        """Forget the ranks: their numbers are given out anew."""
        self._step_s.clear()
        self._data_s.clear()
        self._own_s.clear()

    def step_s(self) -> dict[int, float]:
        """Return the median step time of the ranks that have reported enough."""
        return _medians(self._step_s)

    def data_s(self) -> dict[int, float]:
        """Return the median time of a step that went into waiting for data, by rank."""
        return _medians(self._data_s)

    def own_s(self) -> dict[int, float]:
        """Return the median time before a rank waits for the others in a step, by rank."""
        return _medians(self._own_s)


def _append(times: dict[int, deque[float]], rank: int, value: float | None) -> None:
    if value is None or not math.isfinite(value) or value < 0:
        return
    known = times.get(rank)
    if known is None:
        if len(times) >= _MAX_RANKS:
            return
        known = times[rank] = deque(maxlen=_REMEMBERED)
    known.append(value)


def _medians(times: dict[int, deque[float]]) -> dict[int, float]:
    return {r: median(known) for r, known in times.items() if len(known) == _REMEMBERED}
