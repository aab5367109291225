"""Which records count: those of the current generation of the current attempt.

Older ones are stale and only counted. Newer ones are held back until the record that starts their
generation arrives: another rank's report may well overtake rank 0's `RollbackDone`.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto

from watchdog.place import Place
from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    EvalReport,
    LrChanged,
    Record,
    RollbackDone,
    RunStarted,
    StepReport,
    Storage,
)

#: Chosen: a step number beyond this cannot be told from its neighbours as a float.
_MAX_STEP = 2**53
#: Chosen: what is kept for each rank must not fill the memory because a number is garbage.
_MAX_RANKS = 65536
#: Chosen: some seconds of reports of a large run; more is dropped, oldest first.
_MAX_HELD = 65536
#: Chosen: rank 0 sends its records in order, so one would do; a few more cost nothing.
_LOST_AFTER_REPORTS = 8


class Entry(Enum):
    """What the gate says to a record."""

    ACCEPTED = auto()
    HELD = auto()
    STALE = auto()


class Gate:
    """Compares records with the place the run is at."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._held: deque[Record] = deque(maxlen=_MAX_HELD)
        self._run_started: RunStarted | None = None

    def admit(self, record: Record) -> Entry:
        """Return whether a record counts now, later or never."""
        if not _is_possible(record):
            return Entry.STALE
        match record:
            case StepReport() | EvalReport():
                entry = self._admit_training(record)
            case RunStarted():
                entry = Entry.STALE if record == self._run_started else Entry.ACCEPTED
                self._run_started = record
            case AttemptStarted():
                entry = self._admit_start(record)
            case AttemptEnded():
                entry = self._admit_end(record)
            case RollbackDone():
                entry = self._admit_rollback(record)
            case CheckpointSaved() | LrChanged():
                entry = self._admit_by(record.attempt, record.generation)
            case _:
                entry = Entry.ACCEPTED
        if entry is Entry.HELD:
            self._held.append(record)
        return entry

    def lost_rollback(self) -> RollbackDone | None:
        """Return the `RollbackDone` that must have been lost, made up from what is known.

        Rank 0 sends it before its first report of the new generation. The step that was restored
        is the one before the smallest that any rank has reported since; the seconds are those
        since the last record that counted, so rather too many.
        """
        place = self._place
        newer = [
            r
            for r in self._held
            if isinstance(r, StepReport)
            and r.attempt == place.attempt
            and r.generation > place.generation
        ]
        if not place.is_attempt_live or sum(r.rank == 0 for r in newer) < _LOST_AFTER_REPORTS:
            return None
        generation = min(r.generation for r in newer)
        first = min((r for r in newer if r.generation == generation), key=lambda r: r.step)
        restored_step = max(0, first.step - 1)
        return RollbackDone(
            t_s=first.t_s,
            attempt=place.attempt,
            generation=generation,
            verdict_id=0,
            step=place.step,
            restored_step=restored_step,
            storage=Storage.MEMORY,
            seconds=max(0.0, first.t_s - place.t_s),
            steps_lost=max(0, place.step - restored_step),
        )

    def release(self) -> list[Record]:
        """Return the records held so far, in order of arrival; some may be held again."""
        held = list(self._held)
        self._held.clear()
        return held

    def _admit_start(self, record: AttemptStarted) -> Entry:
        is_new = record.attempt > self._place.started_attempt
        return Entry.ACCEPTED if is_new else Entry.STALE

    def _admit_end(self, record: AttemptEnded) -> Entry:
        """The end of an attempt that never came up counts; a second report of one end does not."""
        is_new = record.attempt > self._place.ended_attempt
        return Entry.ACCEPTED if is_new else Entry.STALE

    def _admit_training(self, record: StepReport | EvalReport) -> Entry:
        if record.attempt == self._place.attempt and not self._place.is_attempt_live:
            return Entry.STALE
        return self._admit_by(record.attempt, record.generation)

    def _admit_rollback(self, record: RollbackDone) -> Entry:
        """It starts a generation of its own; one of a later attempt waits for that to start."""
        place = self._place
        if record.attempt > place.attempt:
            return Entry.HELD
        is_next = record.attempt == place.attempt and record.generation > place.generation
        return Entry.ACCEPTED if is_next and place.is_attempt_live else Entry.STALE

    def _admit_by(self, attempt: int, generation: int) -> Entry:
        place = self._place
        if attempt < place.attempt or generation < place.generation:
            return Entry.STALE
        if attempt > place.attempt or generation > place.generation:
            return Entry.HELD
        return Entry.ACCEPTED


def _is_possible(record: Record) -> bool:
    """Whether steps, ranks and counts are numbers that can be; anything else is garbage."""
    if isinstance(record, StepReport):  # nearly all records, so without a loop
        is_placed = record.rank >= 0 and record.attempt >= 0 and record.generation >= 0
        return is_placed and 0 <= record.step <= _MAX_STEP
    if not 0 <= getattr(record, "world_size", 1) <= _MAX_RANKS:
        return False
    names = ("step", "restored_step", "attempt", "generation")
    return all(0 <= getattr(record, name, 0) <= _MAX_STEP for name in names)
