"""Where each rank's main thread is, and how long it has been there; what a hang is told from.

A rank that stays in one place says so once a second, from a thread of its own, so the report comes
also while the main thread is stuck. A rank that reports is alive; one that is silent is blind: it
may be paused, or its messages lost, and nothing follows from silence alone.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from watchdog.records import PhaseReport, WorkerPhase

#: Chosen: reports come every second; a rank not heard of for as many ticks is blind.
_FRESH_TICKS = 5
#: Chosen: enough for a 99th percentile that two outliers do not move.
_REMEMBERED = 256
_FEW = 8

#: The places of one step, in the order they are passed.
_ORDER = {phase: place for place, phase in enumerate(WorkerPhase)}


@dataclass(frozen=True, slots=True)
class Stuck:
    """The ranks that the others wait for: those furthest behind, `stuck_s` in the same place.

    `waiting` are the ranks that wait in a collective further on. All ranks in one collective have
    no culprit: then `ranks` are all of them.
    """

    ranks: tuple[int, ...]
    phase: WorkerPhase
    step: int
    stuck_s: float
    is_first_step: bool
    waiting: tuple[int, ...]

    @property
    def culprit(self) -> int | None:
        """Return the one rank that the others wait for; None where it is not one."""
        return self.ranks[0] if len(self.ranks) == 1 else None


class Whereabouts:
    """The newest report of each rank of the newest generation; bounded by the number of ranks."""

    def __init__(self) -> None:
        self.attempt = -1
        self._generation = -1
        self._world_size = 0
        self._ticks = 0
        self._reports: dict[int, tuple[PhaseReport, int]] = {}

    def note(self, report: PhaseReport) -> None:
        """Take a report in; the first of a later generation makes the older ones void."""
        place = (report.attempt, report.generation)
        if place < (self.attempt, self._generation):
            return
        if place > (self.attempt, self._generation):
            self.attempt, self._generation = place
            self._reports.clear()
        self._world_size = report.world_size
        if 0 <= report.rank < report.world_size:
            self._reports[report.rank] = (report, self._ticks)

    def moved(self) -> None:
        """Forget the reports: a step was taken since."""
        if self._reports:
            self._reports.clear()

    def tick(self) -> None:
        """Take the clock in."""
        self._ticks += 1

    @property
    def blind(self) -> tuple[int, ...]:
        """Return the ranks that are not heard of, when others are; nothing follows from it."""
        if not self._reports:
            return ()
        return tuple(r for r in range(self._world_size) if not self._is_fresh(r))

    def stuck(self) -> Stuck | None:
        """Return whom the others wait for; None unless every rank is heard of."""
        if not self._reports or self.blind:
            return None
        reports = [report for report, _ in self._reports.values()]
        behind = min(_place(r) for r in reports)
        last = [r for r in reports if _place(r) == behind]
        return Stuck(
            ranks=tuple(sorted(r.rank for r in last)),
            phase=last[0].phase,
            step=last[0].step,
            stuck_s=min(r.stuck_s for r in last),
            is_first_step=any(r.is_first_step for r in last),
            waiting=tuple(sorted(r.rank for r in reports if _place(r) != behind)),
        )

    def _is_fresh(self, rank: int) -> bool:
        found = self._reports.get(rank)
        return found is not None and self._ticks - found[1] <= _FRESH_TICKS


class PhaseTimes:
    """How long a step, a validation and a checkpoint have taken in this run, in seconds."""

    def __init__(self) -> None:
        self._step_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._validation_s: deque[float] = deque(maxlen=_REMEMBERED)
        self._checkpoint_s: deque[float] = deque(maxlen=_REMEMBERED)

    def step(self, seconds: float | None) -> None:
        """Remember how long a step took."""
        _append(self._step_s, seconds)

    def validation(self, seconds: float | None) -> None:
        """Remember how long a validation took."""
        _append(self._validation_s, seconds)

    def checkpoint(self, seconds: float | None) -> None:
        """Remember how long a durable checkpoint took to write."""
        _append(self._checkpoint_s, seconds)

    def usual_step_s(self) -> float | None:
        """Return the 99th percentile of the steps, its two largest left out; None for too few."""
        if len(self._step_s) < _FEW:
            return None
        ordered = sorted(self._step_s)[:-2]
        return ordered[math.ceil(0.99 * len(ordered)) - 1]

    def longest_validation_s(self) -> float | None:
        """Return the longest validation; None before the first."""
        return max(self._validation_s, default=None)

    def longest_checkpoint_s(self) -> float | None:
        """Return the longest checkpoint; None before the first."""
        return max(self._checkpoint_s, default=None)


def _append(times: deque[float], seconds: float | None) -> None:
    if seconds is not None and math.isfinite(seconds) and seconds >= 0:
        times.append(seconds)


def _place(report: PhaseReport) -> tuple[int, int]:
    return report.step, _ORDER[report.phase]


def ranks_in_words(ranks: Iterable[int]) -> str:
    """Return `rank 1`, or `ranks 0, 2, 3 and 5 more`."""
    listed = list(ranks)
    if len(listed) == 1:
        return f"rank {listed[0]}"
    shown = ", ".join(str(rank) for rank in listed[:3])
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return f"ranks {shown}{more}"
