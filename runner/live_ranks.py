"""The health of each rank of a living run, in a few numbers a rank.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from runner.rank_band import SLOW_RATIO
from watchdog.records import PhaseReport, StepReport, WorkerPhase

#: Chosen: a step in ten counts, so that a rank is judged by its last dozen of steps.
_SMOOTHING = 0.1
#: Chosen: ranks of one group report within a step of each other; this many behind is one that lags.
_BEHIND_STEPS = 2
#: Chosen: ticks come each second; a rank not heard for as long, while others are, is silent.
_SILENT_S = 10.0
#: Places in which seconds are nothing unusual; the watchdog has a deadline for each.
_LONG_PLACES = frozenset({WorkerPhase.STARTING, WorkerPhase.VALIDATE, WorkerPhase.RECOVER})


class Health(StrEnum):
    """What is said of a rank, the worst first."""

    GONE = "gone"
    SILENT = "silent"
    STUCK = "in one place"
    BEHIND = "behind"
    SLOW = "slow"
    WELL = "well"
    DONE = "done"


_SEVERITY = {health: index for index, health in enumerate(Health)}


@dataclass(slots=True)
class _Rank:
    step: int = 0
    last_t_s: float = 0.0
    step_s: float | None = None
    own_s: float | None = None
    phase: str = ""
    stuck_s: float = 0.0
    is_gone: bool = False
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class RankLine:
    """One rank as it is shown; `note` says why it is not well."""

    rank: int
    health: Health
    step: int
    step_s: float | None
    note: str = ""


class LiveRanks:
    """Takes the reports of all ranks; knows which of them are well."""

    def __init__(self) -> None:
        self._ranks: dict[int, _Rank] = {}
        self._now_s = 0.0

    def start(self, world_size: int) -> None:
        """Begin a new attempt of ranks that have not been heard yet."""
        self._ranks = {rank: _Rank(last_t_s=self._now_s) for rank in range(max(0, world_size))}

    def clock(self, t_s: float) -> None:
        """Move the time on: silence is told from it."""
        self._now_s = max(self._now_s, t_s)

    def step(self, report: StepReport) -> None:
        """Take in one step of one rank."""
        rank = self._ranks.setdefault(report.rank, _Rank())
        rank.step, rank.last_t_s, rank.phase, rank.is_gone = report.step, report.t_s, "", False
        rank.step_s = _smoothed(rank.step_s, report.step_s)
        rank.own_s = _smoothed(rank.own_s, report.own_s)

    def phase(self, report: PhaseReport) -> None:
        """Take in that a rank has been in one place for a while."""
        rank = self._ranks.setdefault(report.rank, _Rank())
        rank.last_t_s, rank.phase, rank.stuck_s = report.t_s, report.phase.value, report.stuck_s

    def lose(self, rank: int | None) -> None:
        """Note that an attempt failed: the culprit is gone, all if it is not known who."""
        for number, state in self._ranks.items():
            state.is_gone = rank is None or number == rank

    def finish(self) -> None:
        """Note that an attempt ended as it was meant to."""
        for state in self._ranks.values():
            state.is_done = True

    def lines(self) -> list[RankLine]:
        """Return the ranks, the worst first, then by number."""
        newest = max((rank.step for rank in self._ranks.values()), default=0)
        others = _Others(self._ranks.values())
        lines = [self._line(n, rank, newest, others) for n, rank in self._ranks.items()]
        return sorted(lines, key=lambda line: (_SEVERITY[line.health], line.rank))

    def _line(self, number: int, rank: _Rank, newest: int, others: _Others) -> RankLine:
        health, note = self._health(rank, newest, others)
        return RankLine(number, health, rank.step, rank.step_s, note)

    def _health(self, rank: _Rank, newest: int, others: _Others) -> tuple[Health, str]:
        if rank.is_done:
            return Health.DONE, ""
        silent_s = self._now_s - rank.last_t_s
        if rank.is_gone:
            return Health.GONE, "its attempt ended"
        if silent_s > _SILENT_S:
            return Health.SILENT, f"not heard for {silent_s:.0f} s"
        if rank.phase:
            health = Health.WELL if rank.phase in _LONG_PLACES else Health.STUCK
            return health, f"{rank.phase.replace('_', ' ')} for {rank.stuck_s:.0f} s"
        if newest - rank.step >= _BEHIND_STEPS:
            return Health.BEHIND, f"{newest - rank.step} steps"
        if (beyond_s := others.beyond_s(rank)) is not None:
            return Health.SLOW, f"{beyond_s:.2g} s longer than the others"
        return Health.WELL, ""


class _Others:
    """What a rank is compared with: the median of all, or with two ranks the other one."""

    def __init__(self, ranks: Iterable[_Rank]) -> None:
        heard = list(ranks)
        own_s = sorted(rank.own_s for rank in heard if rank.own_s is not None)
        step_s = [rank.step_s for rank in heard if rank.step_s is not None]
        self._own_s = own_s[(len(own_s) - 1) // 2] if len(own_s) > 1 else None
        self._step_s = median(step_s) if step_s else None

    def beyond_s(self, rank: _Rank) -> float | None:
        """Return the seconds that a slow rank takes beyond the others; None if it is not slow."""
        if rank.own_s is None or self._own_s is None or not self._step_s:
            return None
        beyond_s = rank.own_s - self._own_s
        return beyond_s if beyond_s > SLOW_RATIO * self._step_s else None


def census(lines: Iterable[RankLine]) -> dict[Health, int]:
    """Return how many ranks are in which health, the worst first; none of zero."""
    counts = Counter(line.health for line in lines)
    return {health: counts[health] for health in Health if counts[health]}


def _smoothed(before: float | None, value: float | None) -> float | None:
    if value is None or before is None:
        return before if value is None else value
    return before + _SMOOTHING * (value - before)
