"""What each rank did when: a band of states over the wall time, in bounded memory.

The wall time is cut into equal stretches, whose length doubles whenever there would be too many. A
stretch shows the worst that a rank was in, so that a second of being gone is seen in a day.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from runner.rank_band import Band, RankState, slow_ranks
from watchdog.records import (
    AttemptEnded,
    AttemptStarted,
    EvalReport,
    Outcome,
    PhaseReport,
    Record,
    RollbackDone,
    RunEnded,
    RunStarted,
    StepReport,
    WorkerPhase,
)

#: Chosen: a band a third of a screen wide shows as many.
MAX_STRETCHES = 240
_FIRST_WIDTH_S = 0.125
_MAX_EVENTS = 200
_MAX_RANK = 100_000


_PLACES = {
    WorkerPhase.STARTING: RankState.STARTING,
    WorkerPhase.VALIDATE: RankState.VALIDATING,
    WorkerPhase.RECOVER: RankState.RECOVERING,
    WorkerPhase.ALL_REDUCE: RankState.WAITING,
    WorkerPhase.SETTLE: RankState.WAITING,
    WorkerPhase.AGREE: RankState.WAITING,
    WorkerPhase.GATHER: RankState.WAITING,
    WorkerPhase.ENDING: RankState.WAITING,
}
_AS_PLANNED = frozenset({Outcome.FINISHED, Outcome.STOPPED, Outcome.HALTED, Outcome.RESIZED})


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one state: `begin` and `end` are numbers of stretches."""

    begin: int
    end: int
    state: RankState


@dataclass(frozen=True, slots=True)
class RankEvent:
    """Something that happened to one rank, or to all (`rank` None)."""

    t_s: float
    step: int
    rank: int | None
    words: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The bands of all ranks. `width_s` is the length of a stretch, `count` how many there are."""

    start_t_s: float = 0.0
    width_s: float = _FIRST_WIDTH_S
    count: int = 0
    bands: tuple[tuple[int, tuple[Span, ...]], ...] = ()
    events: tuple[RankEvent, ...] = ()


class TimelineBuilder:
    """Takes the records of a trace one by one."""

    def __init__(self, max_stretches: int = MAX_STRETCHES) -> None:
        self._max = max_stretches + max_stretches % 2
        self._width_s = _FIRST_WIDTH_S
        self._start_s: float | None = None
        self._end_s = 0.0
        self._begun_s = 0.0  # when the driver began what is now starting
        self._bands: dict[int, Band] = {}
        self._events: list[RankEvent] = []

    def observe(self, record: Record) -> None:
        """Take one record in; those that tell nothing of ranks only move the clock."""
        if not math.isfinite(record.t_s):
            return
        if self._start_s is None:
            self._start_s = self._end_s = self._begun_s = record.t_s
        self._end_s = max(self._end_s, record.t_s)
        if isinstance(record, StepReport):  # nearly all records
            self._on_step(record)
        else:
            self._interpret(record)

    def _interpret(self, record: Record) -> None:
        match record:
            case PhaseReport():
                state = _PLACES.get(record.phase, RankState.HELD)
                self._mark_rank(record.rank, record.t_s - record.stuck_s, record.t_s, state)
            case EvalReport():
                self._mark_all(record.t_s - (record.seconds or 0), record.t_s, RankState.VALIDATING)
            case RollbackDone():
                self._mark_all(record.t_s - record.seconds, record.t_s, RankState.RECOVERING)
            case AttemptStarted():
                self._on_started(record)
            case AttemptEnded():
                self._on_ended(record)
            case RunStarted():
                self._begun_s = record.t_s
                for band in self._bands.values():
                    band.down = (record.t_s, RankState.STARTING)
            case RunEnded():
                for band in self._bands.values():
                    band.down = None  # between a run's end and its resumption nothing is known
            case _:
                pass

    def timeline(self) -> Timeline:
        """Return the bands of everything observed so far."""
        if self._start_s is None:
            return Timeline()
        self._index(self._end_s)  # so that the stretches reach the end, whoever was heard last
        for band in self._bands.values():
            if band.down is not None:
                self._mark(band, band.down[0], self._end_s, band.down[1])
        count = min(self._max, max(1, math.ceil((self._end_s - self._start_s) / self._width_s)))
        slow = self._slow(count)
        return Timeline(
            start_t_s=self._start_s,
            width_s=self._width_s,
            count=count,
            bands=tuple(
                (rank, tuple(_spans(_with_slow(band.codes[:count], slow.get(rank, ())))))
                for rank, band in sorted(self._bands.items())
            ),
            events=tuple(self._events),
        )

    def _on_step(self, record: StepReport) -> None:
        band = self._band(record.rank)
        if band is None:
            return
        step_s = max(0.0, record.step_s or 0.0)
        begin_s = record.t_s - step_s if math.isfinite(step_s) else record.t_s
        if band.last_t_s is not None:
            begin_s = max(begin_s, min(band.last_t_s, record.t_s))
        if band.down is not None or band.last_t_s is None:
            since_s, state = band.down or (self._begun_s, RankState.STARTING)
            self._mark(band, since_s, begin_s, state)
            band.down = None
        self._mark(band, begin_s, record.t_s, RankState.TRAINING)
        band.last_t_s = record.t_s
        index = self._index(record.t_s)
        if record.own_s is not None and math.isfinite(record.own_s):
            band.own_s[index] += record.own_s
            band.step_s[index] += step_s
            band.steps[index] += 1

    def _on_started(self, record: AttemptStarted) -> None:
        for rank in range(min(record.world_size, _MAX_RANK)):
            band = self._band(rank)
            # Those that were heard before are already down; a first step may even have come.
            if band is not None and band.down is None and band.last_t_s is None:
                band.down = (self._begun_s, RankState.STARTING)
        if record.attempt > 0:
            how = f" ({record.tier})" if record.tier else ""
            words = f"attempt {record.attempt} began with {record.world_size} ranks{how}"
            self._tell(record.t_s, record.restored_step, None, words)

    def _on_ended(self, record: AttemptEnded) -> None:
        if record.outcome in _AS_PLANNED:
            return
        is_hung = record.outcome is Outcome.HUNG
        for rank, band in self._bands.items():
            if band.down is not None:  # it did not come to its first step
                self._mark(band, band.down[0], record.t_s, band.down[1])
            is_culprit = rank == record.rank
            since_s = record.t_s if band.last_t_s is None else min(band.last_t_s, record.t_s)
            if is_culprit and is_hung:
                self._mark(band, since_s, record.t_s, RankState.HUNG)
                band.down = (record.t_s, RankState.RECOVERING)
            elif is_culprit and record.outcome is Outcome.WORKER_DIED:
                band.down = (since_s, RankState.GONE)
            else:
                band.down = (record.t_s, RankState.RECOVERING)
        words = record.outcome.value.replace("_", " ")
        self._tell(record.t_s, record.step, record.rank, words)

    def _tell(self, t_s: float, step: int, rank: int | None, words: str) -> None:
        if len(self._events) < _MAX_EVENTS:
            self._events.append(RankEvent(t_s, step, rank, words))

    def _band(self, rank: int) -> Band | None:
        if not 0 <= rank <= _MAX_RANK:
            return None
        band = self._bands.get(rank)
        if band is None:
            band = self._bands[rank] = Band(self._max)
        return band

    def _mark_all(self, begin_s: float, end_s: float, state: RankState) -> None:
        for band in self._bands.values():
            self._mark(band, begin_s, end_s, state)

    def _mark_rank(self, rank: int, begin_s: float, end_s: float, state: RankState) -> None:
        band = self._band(rank)
        if band is not None:
            self._mark(band, begin_s, end_s, state)

    def _mark(self, band: Band, begin_s: float, end_s: float, state: RankState) -> None:
        if not (math.isfinite(begin_s) and math.isfinite(end_s)):
            return
        last = self._index(end_s)  # may double the stretches, so it comes first
        for index in range(self._index(min(begin_s, end_s)), last + 1):
            band.codes[index] = max(band.codes[index], state)

    def _index(self, t_s: float) -> int:
        """Return the stretch of a time; the stretches double until it fits in."""
        since_s = max(0.0, t_s - (self._start_s or 0.0))
        while since_s >= self._width_s * self._max:
            self._width_s *= 2
            for band in self._bands.values():
                band.double()
        return int(since_s / self._width_s)

    def _slow(self, count: int) -> dict[int, set[int]]:
        """Return the stretches in which a rank took longer than the others before it waited.

        It has to be slow in two stretches on end of those with steps: a busy machine makes each
        rank slow at times.
        """
        found: dict[int, set[int]] = {}
        before, slow_before = 0, frozenset[int]()
        for index in range(count):
            heard = {r: b for r, b in self._bands.items() if b.steps[index]}
            if len(heard) < 2:
                continue
            slow = slow_ranks(heard, index)
            for rank in slow & slow_before:
                found.setdefault(rank, set()).update(range(before, index + 1))
            before, slow_before = index, slow
        return found


def merged(bands: Sequence[tuple[Span, ...]], count: int) -> tuple[Span, ...]:
    """Return one band for several ranks: of each stretch the worst that any of them was in."""
    codes = bytearray(count)
    for spans in bands:
        for span in spans:
            for index in range(span.begin, min(span.end, count)):
                codes[index] = max(codes[index], span.state)
    return tuple(_spans(codes))


def _with_slow(codes: bytearray, slow: Iterable[int]) -> bytearray:
    for index in slow:
        if RankState.UNKNOWN < codes[index] <= RankState.TRAINING:
            codes[index] = RankState.SLOW
    return codes


def _spans(codes: Sequence[int]) -> Iterator[Span]:
    begin = 0
    for code, group in groupby(codes):
        end = begin + len(list(group))
        if code:
            yield Span(begin, end, RankState(code))
        begin = end
