"""Where this rank's main thread is, told by another thread, so that it is told also when stuck.

The main thread leaves a word at each place it comes to, which costs two assignments. The telemetry
thread looks, and once the main thread has been in one place for a second, reports so each second.
The watchdog ends an attempt that hangs: then this rank's stacks go into the run's folder, and the
main thread is freed from its collective, or the process ended, for one that is stuck hears nothing.

Runs in: worker (the telemetry thread, but for `enter`).
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from runner.course import Course
from watchdog.records import Order, PhaseReport, WorkerPhase

_log = logging.getLogger(__name__)

#: Chosen: a place that was left within a second is not worth a record.
_REPORT_S = 1.0
#: Chosen: this thread looks every 20 ms; where it did not for a second, the process was paused.
_MAX_GAP_S = 1.0


class Presence:
    """One rank's place in its loop.

    `stacks` is the folder for stacks, None for nowhere; `end` has this rank leave the attempt
    (None: the process is ended by SIGKILL, but not that of a driver).
    """

    def __init__(
        self,
        course: Course,
        rank: int,
        stacks: Path | None = None,
        end: Callable[[Order], None] | None = None,
    ) -> None:
        # Ray Train trains in a thread beside the main one; with `workers: 0` it is the driver's.
        is_own_process = threading.current_thread() is not threading.main_thread()
        self._end = end or (_end_process if is_own_process else _do_nothing)
        self._course = course
        self._rank = rank
        self._stacks = stacks
        self._phase = WorkerPhase.STARTING
        self._moves = 0
        self.is_first_step = True
        self._seen_moves = -1
        self._stuck_s = 0.0
        self._looked_s: float | None = None
        self._reported_s = 0.0
        self._has_given_up = False

    def enter(self, phase: WorkerPhase) -> None:
        """Say where the main thread is from now on."""
        self._phase = phase
        self._moves += 1

    def look(self, now_s: float) -> PhaseReport | None:
        """Return what there is to report at `now_s` (seconds of a monotonic clock)."""
        gap_s = 0.0 if self._looked_s is None else min(now_s - self._looked_s, _MAX_GAP_S)
        self._looked_s = now_s
        if self._moves != self._seen_moves:
            self._seen_moves, self._stuck_s, self._reported_s = self._moves, 0.0, 0.0
            return None
        self._stuck_s += gap_s
        if self._stuck_s < self._reported_s + _REPORT_S:
            return None
        self._reported_s = self._stuck_s
        return self._report()

    def _report(self) -> PhaseReport:
        course, phase = self._course, self._phase
        is_in_step = phase in _IN_STEP
        return PhaseReport(
            t_s=time.time(),
            attempt=course.attempt,
            generation=course.generation,
            rank=self._rank,
            world_size=course.world_size,
            step=course.step + is_in_step,
            phase=phase,
            stuck_s=self._stuck_s,
            is_first_step=self.is_first_step,
        )

    def give_up(self, order: Order) -> None:
        """Have this rank leave the attempt, which is over; after a hang write all stacks, once.

        With `workers: 0` the process is the driver's own, which lives on, for a debugger.
        """
        if order.verdict is not None and not self._has_given_up:
            path = self._write_stacks(order.verdict.reason)
            _log.error("rank %d leaves: %s; stacks in %s", self._rank, order.verdict.reason, path)
        self._has_given_up = True
        self._end(order)

    def _write_stacks(self, reason: str) -> Path | None:
        if self._stacks is None:
            return None
        course = self._course
        name = f"attempt_{course.attempt}_step_{course.step}_rank_{self._rank}.txt"
        path = self._stacks / name
        try:
            self._stacks.mkdir(parents=True, exist_ok=True)
            with path.open("w", encoding="utf-8") as file:
                file.write(f"{reason}\nrank {self._rank} in '{self._phase.value}'\n\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
        except OSError as error:
            _log.warning("no stacks were written to %s: %s", path, error)
            return None
        return path


#: Places before the step that is being made is counted as taken.
_IN_STEP = frozenset({WorkerPhase.DATA, WorkerPhase.COMPUTE, WorkerPhase.ALL_REDUCE})


def _end_process(order: Order) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _do_nothing(order: Order) -> None:
    pass
