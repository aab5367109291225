"""How long steps take: for the whole run, to notice silence, and for each rank.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

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
    def last_t_s(self) -> float | None:
        """When progress was last heard of; None before anything was."""
        return self._last_t_s

    @property
    def usual_s(self) -> float | None:
        """Return the median time from step to step; None before four are known."""
        return median(self._intervals) if len(self._intervals) >= 4 else None


class RankPace:
    """The newest step times of each rank, in seconds; bounded by the number of ranks."""

    def __init__(self) -> None:
        self.clear()

    def note(self, report: StepReport) -> None:
        """Remember the times of a report."""
        self._step_s.add(report.rank, report.step_s)
        self._data_s.add(report.rank, report.data_s)
        self._own_s.add(report.rank, report.own_s)

    def clear(self) -> None:
        """Forget the ranks: their numbers are given out anew."""
        self._step_s, self._data_s, self._own_s = _Windows(), _Windows(), _Windows()

    def step_s(self) -> dict[int, float]:
        """Return the median step time of the ranks that have reported enough."""
        return self._step_s.medians()

    def data_s(self) -> dict[int, float]:
        """Return the median time of a step that went into waiting for data, by rank."""
        return self._data_s.medians()

    def own_s(self) -> dict[int, float]:
        """Return the median time before a rank waits for the others in a step, by rank."""
        return self._own_s.medians()


class _Windows:
    """The newest values of each rank, a row of one table a rank.

    A table, because the medians of ten thousand ranks are asked for at the step that may be bad.
    """

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._counts: list[int] = []
        self._values = np.zeros((1, _REMEMBERED))

    def add(self, rank: int, value: float | None) -> None:
        """Remember a value; one that is no duration is passed over."""
        if value is None or not math.isfinite(value) or value < 0:
            return
        row = self._rows.get(rank)
        if row is None:
            row = len(self._counts)
            if row >= _MAX_RANKS:
                return
            self._rows[rank] = row
            self._counts.append(0)
            if row >= len(self._values):
                self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        self._values[row, self._counts[row] % _REMEMBERED] = value
        self._counts[row] += 1

    def medians(self) -> dict[int, float]:
        """Return the median of each rank that has told enough values."""
        rows = {r: row for r, row in self._rows.items() if self._counts[row] >= _REMEMBERED}
        if not rows:
            return {}
        ordered = np.sort(self._values[list(rows.values())], axis=1)
        middle = (ordered[:, _REMEMBERED // 2 - 1] + ordered[:, _REMEMBERED // 2]) / 2
        return dict(zip(rows, middle.tolist(), strict=True))
