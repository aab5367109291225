"""Where the wall time of a run went, split without gaps into categories that add up to it.

One clock is enough: rank 0's records, the driver's and the ticks. Each record moves the clock
forward and the new time is *open* until a record explains it; what nobody explains before the next
step but one is `other`. Time is only ever moved between categories, never made or dropped, so the
sum is the wall time by construction.

Steps thrown away by a rollback or a restart stop being productive the moment they are: their time
moves to `redone_steps`.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from enum import StrEnum

from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    Cause,
    CheckpointSaved,
    EvalReport,
    Outcome,
    Record,
    RollbackDone,
    RoomAwaited,
    RunEnded,
    RunStarted,
    StepReport,
)


class Category(StrEnum):
    """What a second of the run was spent on; only `productive` is goodput."""

    PRODUCTIVE = "productive"  # optimizer steps that count
    STARTUP = "startup"  # until the first step of the run, or of a run resumed after its end
    RESOURCES = "resources"  # the cluster had no room for the workers
    RECOVERY = "recovery"  # a failure until it was noticed, and then until the next step
    REDONE_STEPS = "redone_steps"  # steps thrown away, or not applied
    CHECKPOINT_STALL = "checkpoint_stall"
    DATA_STALL = "data_stall"
    VALIDATION = "validation"
    WAITING = "waiting"  # not explained yet: since the last report of rank 0
    OTHER = "other"  # between the steps, and the end of the run


class _Phase(StrEnum):
    """What open time is until a record explains it."""

    PENDING = "pending"
    STARTUP = "startup"
    RUNNING = "running"
    RECOVERY = "recovery"
    ENDING = "ending"
    OVER = "over"


_OPEN_TIME_IS: Mapping[_Phase, Category] = {
    _Phase.PENDING: Category.STARTUP,
    _Phase.STARTUP: Category.STARTUP,
    _Phase.RUNNING: Category.WAITING,
    _Phase.RECOVERY: Category.RECOVERY,
    _Phase.ENDING: Category.OTHER,
    _Phase.OVER: Category.OTHER,
}

_PLANNED_ENDS = frozenset({Outcome.FINISHED, Outcome.STOPPED, Outcome.HALTED})


class EarnedTime:
    """Productive seconds over steps, in bounded memory, so that a rollback can take them back.

    Holds the running sum at each step. Past `max_points` every second point of the older half is
    dropped and a rollback into it interpolates; the newest steps, where rollbacks go, stay exact.
    """

    def __init__(self, max_points: int = 8192) -> None:
        self._max_points = max_points
        self._steps = [0]
        self._sums_s = [0.0]

    def add(self, step: int, seconds: float) -> None:
        """Earn `seconds` with `step`; one that is not newer than the newest counts for that."""
        total_s = self._sums_s[-1] + seconds
        if step <= self._steps[-1]:
            self._sums_s[-1] = total_s
            return
        self._steps.append(step)
        self._sums_s.append(total_s)
        if len(self._steps) > self._max_points:
            self._thin()

    def take_back(self, restored_step: int) -> float:
        """Forget the steps beyond `restored_step`; return the seconds earned with them."""
        restored_step = max(restored_step, 0)
        if restored_step >= self._steps[-1]:
            return 0.0
        kept_s = self._sum_at(restored_step)
        lost_s = self._sums_s[-1] - kept_s
        keep = bisect_right(self._steps, restored_step)
        del self._steps[keep:], self._sums_s[keep:]
        if self._steps[-1] < restored_step:
            self._steps.append(restored_step)
            self._sums_s.append(kept_s)
        else:
            self._sums_s[-1] = kept_s
        return max(0.0, lost_s)

    def _sum_at(self, step: int) -> float:
        right = bisect_right(self._steps, step)
        left_step, left_s = self._steps[right - 1], self._sums_s[right - 1]
        share = (step - left_step) / (self._steps[right] - left_step)
        return left_s + share * (self._sums_s[right] - left_s)

    def _thin(self) -> None:
        half = len(self._steps) // 2
        self._steps[1:half] = self._steps[2:half:2]
        self._sums_s[1:half] = self._sums_s[2:half:2]


class Accountant:
    """Keeps the books of one run's wall time, over all its attempts.

    The time between the end of a run and its resumption is not the run's. A driver that vanished
    without an end leaves its gap to `recovery`.
    """

    def __init__(self) -> None:
        self._time_s = dict.fromkeys(Category, 0.0)
        self._phase = _Phase.PENDING
        self._now_s: float | None = None
        self._open_s = 0.0
        self._stale_s = 0.0  # the part of the open time that is older than the last step
        self._stalls_s = 0.0  # what checkpoints have claimed since the last step
        self._step: tuple[int, int] | None = None  # generation and number of the last step
        self._generation = 0
        self._earned = EarnedTime()
        self._cause: Cause | None = None  # what the recovery under way is from
        self._recovery_s: dict[Cause, float] = {}

    def blame(self, cause: Cause) -> None:
        """Say what the next recovery is from; told before the record that begins or does it."""
        self._cause = cause

    def observe(self, record: Record) -> None:
        """Take one record into account; never raises, whatever the order or the numbers."""
        if isinstance(record, StepReport):  # nearly all records
            if record.rank == 0 and self._phase is not _Phase.OVER:
                self._advance(record)
                self._on_step(record)
        elif self._phase is not _Phase.OVER or isinstance(record, RunStarted):
            self._advance(record)
            self._interpret(record)

    def time_s(self) -> Mapping[str, float]:
        """Return the seconds of each category up to the newest record; they sum to wall time."""
        out = {category.value: seconds for category, seconds in self._time_s.items()}
        out[_OPEN_TIME_IS[self._phase].value] += self._open_s
        return out

    def recovery_s(self) -> Mapping[Cause, float]:
        """Return the seconds of `recovery` by cause; they sum to that category.

        A recovery that no verdict came before is from a driver that vanished: a crash.
        """
        out = dict(self._recovery_s)
        if _OPEN_TIME_IS[self._phase] is Category.RECOVERY and self._open_s > 0:
            cause = self._cause or Cause.CRASH
            out[cause] = out.get(cause, 0.0) + self._open_s
        return out

    def wall_s(self) -> float:
        """Return the run's wall time in seconds, up to the newest record."""
        return sum(self._time_s.values()) + self._open_s

    def ratio(self) -> float | None:
        """Return productive time over wall time, 0 to 1; None before any time has passed."""
        wall_s = self.wall_s()
        if wall_s <= 0:
            return None
        return min(1.0, self._time_s[Category.PRODUCTIVE] / wall_s)

    def _interpret(self, record: Record) -> None:
        """Say what the open time was, of all records but a step; a tick says nothing."""
        match record:
            case RunStarted():
                self._on_run_started()
            case AttemptStarted():
                self._on_attempt_started(record)
            case EvalReport():
                self._take(Category.VALIDATION, _seconds(record.seconds))
            case CheckpointSaved():
                stall_s = self._take(Category.CHECKPOINT_STALL, _seconds(record.seconds))
                self._stalls_s += stall_s
            case RollbackDone():
                self._take(Category.RECOVERY, _seconds(record.seconds))
                self._throw_away(record.restored_step, record.generation)
                self._cause = None
            case RoomAwaited():
                self._take(Category.RESOURCES, _seconds(record.seconds))
            case AttemptEnded():
                self._on_attempt_ended(record)
            case RunEnded():
                self._close(Category.OTHER)
                self._phase = _Phase.OVER
            case _:
                pass

    def _advance(self, record: Record) -> None:
        """Move the clock; time never runs backwards, and an ended run's clock stands still."""
        if not math.isfinite(record.t_s):
            return
        if self._now_s is None or self._phase is _Phase.OVER:
            self._now_s = record.t_s
        elif record.t_s > self._now_s:
            self._open_s += record.t_s - self._now_s
            self._now_s = record.t_s

    def _on_run_started(self) -> None:
        if self._phase in (_Phase.PENDING, _Phase.OVER):
            self._close(Category.OTHER)
            self._phase = _Phase.STARTUP
        else:
            self._close(Category.RECOVERY)  # the driver before this one vanished
            self._phase = _Phase.RECOVERY

    def _on_attempt_started(self, record: AttemptStarted) -> None:
        if self._phase in (_Phase.RUNNING, _Phase.ENDING):
            self._close(Category.RECOVERY)
            self._phase = _Phase.RECOVERY
        self._throw_away(record.restored_step, record.generation)

    def _on_attempt_ended(self, record: AttemptEnded) -> None:
        is_planned = record.outcome in _PLANNED_ENDS
        self._close(Category.OTHER if is_planned else Category.RECOVERY)
        self._phase = _Phase.ENDING if is_planned else _Phase.RECOVERY

    def _on_step(self, record: StepReport) -> None:
        self._take(Category.OTHER, min(self._stale_s, self._open_s))
        step_s = _seconds(record.step_s)
        self._reopen_stalls(record, step_s)
        data_s = min(_seconds(record.data_s), step_s)
        self._take(Category.DATA_STALL, data_s)
        if record.is_applied and record.generation >= self._generation:
            earned_s = self._take(Category.PRODUCTIVE, step_s - data_s)
            self._earned.add(record.step, earned_s)
        else:
            self._take(Category.REDONE_STEPS, step_s - data_s)
        if self._phase is not _Phase.RUNNING:
            self._close(_OPEN_TIME_IS[self._phase])
            self._phase = _Phase.RUNNING
            self._cause = None
        self._stale_s = self._open_s

    def _reopen_stalls(self, record: StepReport, step_s: float) -> None:
        """Give the step the time that a checkpoint, written behind it, claimed as its own."""
        place = (record.generation, record.step)
        if self._stalls_s > 0 and place != self._step:
            missing_s = max(0.0, step_s - self._open_s)
            reopened_s = min(missing_s, self._stalls_s)
            self._time_s[Category.CHECKPOINT_STALL] -= reopened_s
            self._open_s += reopened_s
        self._step = place
        self._stalls_s = 0.0

    def _throw_away(self, restored_step: int, generation: int) -> None:
        self._generation = max(self._generation, generation)
        lost_s = min(self._earned.take_back(restored_step), self._time_s[Category.PRODUCTIVE])
        self._time_s[Category.PRODUCTIVE] -= lost_s
        self._time_s[Category.REDONE_STEPS] += lost_s

    def _take(self, category: Category, seconds: float) -> float:
        """Move up to `seconds` of open time to a category; return how many there were."""
        taken_s = min(seconds, self._open_s)
        if taken_s <= 0.0:
            return 0.0
        self._open_s -= taken_s
        self._time_s[category] += taken_s
        if category is Category.RECOVERY:
            cause = self._cause or Cause.CRASH
            self._recovery_s[cause] = self._recovery_s.get(cause, 0.0) + taken_s
        return taken_s

    def _close(self, category: Category) -> None:
        self._take(category, self._open_s)
        self._stale_s = self._stalls_s = 0.0


def _seconds(value: float | None) -> float:
    """Return a duration that can be accounted for: 0 for an unknown, negative or endless one."""
    if value is None or not math.isfinite(value):
        return 0.0
    return max(0.0, value)
