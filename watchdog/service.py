"""The watchdog with its files: it takes records in, keeps them, and hands out what is to be done.

What was concluded is in the ledger, on disk, before anybody is told. A service that starts over an
existing run replays its trace, so that it knows what the one before it knew; a verdict that was
written and not carried out is handed out again.

Runs in: watchdog actor, or the driver of an in-process run (clock, files).
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from watchdog.config import WatchdogConfig
from watchdog.core import Core
from watchdog.errors import TraceError
from watchdog.history import RunHistory
from watchdog.interventions import Conclusion
from watchdog.ledger import Ledger, ledger_line, read_ledger
from watchdog.records import (
    Action,
    AttemptEnded,
    Cause,
    Order,
    OrderKind,
    Record,
    Tick,
    Verdict,
)
from watchdog.redaction import redact_record
from watchdog.snapshot import Snapshot
from watchdog.trace import TraceWriter, read_trace

_log = logging.getLogger(__name__)

#: What the living workers do about a verdict; one that lets them go on changes their rate.
_ORDERS = {
    Action.CONTINUE: OrderKind.SET_LR,
    Action.ROLLBACK: OrderKind.ROLLBACK,
    Action.HALT: OrderKind.HALT,
}


class Service:
    """One run's watchdog. Methods may be called from any thread."""

    def __init__(
        self, run_dir: Path, config: WatchdogConfig, clock: Callable[[], float] = time.time
    ) -> None:
        trace, ledger = run_dir / "trace.jsonl", run_dir / "ledger.jsonl"
        self._clock = clock
        self._lock = threading.Lock()
        self._core = Core(config)
        self._is_stopping = False
        self._is_closed = False
        self._ticked_t_s: float | None = None
        self._beats = 0
        self._trace = TraceWriter(trace)
        self._ledger = Ledger(ledger)
        try:
            self._ledger.append(self._rebuild(trace, ledger))
        except TraceError:
            self.close()
            raise

    def exchange(self, records: Sequence[Record]) -> Order | None:
        """Take records in; return the order that is pending, the same to everyone until it is done.

        A later order has a higher id.
        """
        with self._lock:
            if self._is_closed:  # the last words of a thread that outlived the run
                return None
            self._observe(records)
            return self._order()

    def attempt_ended(self, record: AttemptEnded) -> Verdict:
        """Take the end of an attempt in; return how to go on. CONTINUE: there is nothing to do."""
        with self._lock:
            self._observe([record])
            self._is_stopping = False
            verdict = self._core.end_verdict
            return verdict if verdict is not None else _nothing_to_do(record)

    def attempt_broke(self, record: AttemptEnded) -> Verdict:
        """Take the end of an attempt in whose worker group may go on; a stop stays ordered."""
        with self._lock:
            self._observe([record])
            verdict = self._core.end_verdict
            return verdict if verdict is not None else _nothing_to_do(record)

    def request_stop(self) -> None:
        """Order all ranks to stop at the same step, with a checkpoint."""
        with self._lock:
            self._is_stopping = True

    def tick(self) -> None:
        """Tell the run what time it is, unless it told of progress since; called once a second.

        So the trace holds the silence, second by second, and nothing of a run that goes on.
        """
        with self._lock:
            self._ticked_t_s = self._clock()
            beats, self._beats = self._beats, self._core.beats
            if beats == self._beats:
                self._observe([Tick(t_s=self._ticked_t_s)])

    def snapshot(self) -> Snapshot:
        """Return the frozen view of the run."""
        with self._lock:
            snapshot = self._core.snapshot()
            if self._ticked_t_s is None:
                return snapshot
            return dataclasses.replace(snapshot, last_tick_t_s=self._ticked_t_s)

    def history(self) -> RunHistory:
        """Return what the driver plans the next attempt from."""
        with self._lock:
            return self._core.history()

    def trust(self) -> Mapping[int, str]:
        """Return the trust of the durable checkpoints by step."""
        with self._lock:
            return self._core.trust()

    def lr_scale(self) -> float:
        """Return the multiplier on the learning rate once what is pending is carried out."""
        return self.history().lr_scale

    def skip_samples(self) -> tuple[int, ...]:
        """Return all sample ordinals that were ever ordered to be left out."""
        return self.history().skip_samples

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._is_closed = True
            self._trace.close()
            self._ledger.close()

    def _observe(self, records: Sequence[Record]) -> None:
        """Keep and judge records; whatever follows from them is on disk when this returns.

        Both files hold what is said here, so this is where secrets are taken out of it.
        """
        records = [redact_record(record) for record in records]
        self._trace.write(records)
        conclusions: list[Conclusion] = []
        for record in records:
            conclusions += self._core.observe(record)
        self._ledger.append(conclusions)
        for conclusion in conclusions:
            if isinstance(conclusion, Verdict):
                _log.warning("verdict %s: %s", conclusion.action, conclusion.reason)

    def _order(self) -> Order | None:
        """Return the pending order. Ids leave room for a stop after each verdict."""
        verdict = self._core.order
        if verdict is not None:
            is_end = self._core.is_end_ordered
            kind = OrderKind.ABANDON if is_end else _ORDERS[verdict.action]
            if kind is OrderKind.ABANDON:  # the next attempt is told what to leave out
                verdict = dataclasses.replace(verdict, skip_samples=())
            if not self._is_stopping or kind in (OrderKind.HALT, OrderKind.ABANDON):
                return Order(
                    order_id=2 * verdict.verdict_id,
                    kind=kind,
                    verdict=verdict,
                    attempt=verdict.attempt,
                )
        if self._is_stopping:
            return Order(order_id=2 * self._core.last_verdict_id + 1, kind=OrderKind.STOP)
        return None

    def _rebuild(self, trace: Path, ledger: Path) -> list[Conclusion]:
        """Replay the trace; return what was concluded at its end and not written any more.

        Raises:
            TraceError: one of the files is malformed.
        """
        written = Counter(_key(line) for line in read_ledger(ledger))
        unwritten: list[Conclusion] = []
        for record in read_trace(trace):
            for conclusion in self._core.observe(record):
                key = _key(ledger_line(conclusion))
                if written[key]:
                    written[key] -= 1
                    unwritten.clear()
                else:
                    unwritten.append(conclusion)
        if written.total():
            _log.warning(
                "%d lines of %s do not follow from the trace; likely the watchdog's settings were "
                "changed since: judgement goes on with the present ones",
                written.total(),
                ledger,
            )
        return unwritten


def _key(line: Mapping[str, object]) -> tuple[object, ...]:
    """What makes a ledger line the same; its reason may be worded anew by another version."""
    names = ("kind", "t_s", "attempt", "step", "cause", "status", "action", "verdict_id")
    return tuple(line.get(name) for name in names)


def _nothing_to_do(record: AttemptEnded) -> Verdict:
    """Return the verdict on an end that was planned; it is no conclusion and in no ledger."""
    return Verdict(
        verdict_id=0,
        t_s=record.t_s,
        attempt=record.attempt,
        generation=0,
        step=record.step,
        cause=Cause.CRASH,
        action=Action.CONTINUE,
        reason=f"attempt {record.attempt} {record.outcome} at step {record.step} as planned",
        onset_step=record.step + 1,
    )
