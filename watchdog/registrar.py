"""The roll call with its clock and its lines: between the worker processes and the judgement.

Runs in: watchdog actor, or the driver of an in-process run (clock).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from watchdog.lifeline import LifelineAddress, LifelineServer
from watchdog.muster import Answer, Arrival, Member
from watchdog.records import Order, OrderKind, Record
from watchdog.roll_call import RollCall
from watchdog.service import Service
from watchdog.tiers import RecoveryConfig, Renewal


class Registrar:
    """Serves the roll call of one run. Methods may be called from any thread."""

    def __init__(
        self,
        service: Service,
        config: RecoveryConfig,
        held_steps: Callable[[], tuple[int, ...]],
        *,
        host: str = "127.0.0.1",
        renewal: Renewal = Renewal.NOTHING,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._held_steps = held_steps
        self._clock = clock
        self._lock = threading.Lock()
        self._roll = RollCall(config, renewal=renewal)
        self._lifelines = LifelineServer(host, self._line_broke)

    def enroll(self, member: Member, attempt: int, rank: int) -> LifelineAddress:
        """Take in that a member lives; return where its line goes to."""
        with self._lock:
            self._roll.enrolled(member, attempt, rank)
        return self._lifelines.address

    def arrive(self, arrival: Arrival) -> Answer:
        """Take a member in at the roll call; it asks again until the answer is not to wait."""
        with self._lock:
            answer = self._roll.arrived(arrival, self._clock())
            self._settle()
            if answer.assignment is None:
                answer = self._roll.arrived(arrival, self._clock())
            return answer

    def leave(self, member_id: str, result: Any = None) -> None:
        """Take in that a member is done for good, and what it returns."""
        with self._lock:
            self._roll.left(member_id, result)
            self._settle()

    def worker_died(self, group: int, number: int, detail: str, is_node_lost: bool) -> None:
        """Take in that Ray found a worker dead."""
        with self._lock:
            self._roll.lost_number(group, number, self._clock(), detail, is_node_lost=is_node_lost)
            self._settle()

    def may_renew(self, group: int) -> bool | None:
        """Whether Ray may start anew what died; None while that is not decided."""
        with self._lock:
            return self._roll.may_renew(group)

    def exchange(self, records: Sequence[Record]) -> Order | None:
        """Take records in; return the order that is pending, if one is.

        To leave an attempt that broke comes before anything else.
        """
        order = self._service.exchange(records)
        if order is not None and order.kind is OrderKind.ABANDON:
            with self._lock:
                verdict = order.verdict
                reason = verdict.reason if verdict is not None else "ordered"
                rank = verdict.rank if verdict is not None else None
                self._roll.abandon(self._clock(), order.attempt, reason, rank)
            return order
        attempt = self._roll.breaking_attempt
        if attempt is None:
            return order
        return Order(order_id=0, kind=OrderKind.ABANDON, attempt=attempt)

    def tick(self) -> None:
        """Let time pass."""
        with self._lock:
            self._roll.tick(self._clock())
            self._settle()

    def close(self) -> None:
        """Stop serving."""
        self._lifelines.close()

    def _line_broke(self, member_id: str) -> None:
        with self._lock:
            self._roll.lost(member_id, self._clock())
            self._settle()

    def _settle(self) -> None:
        """Carry out what follows: the end of an attempt, its verdict, the start of the next."""
        if self._roll.has_ended:
            ended = self._roll.end(self._clock(), self._service.snapshot().step)
            self._roll.judged(self._service.attempt_broke(ended), self._clock())
        if self._roll.wants_start():
            history = self._service.history()
            self._roll.start(history, history.pending_verdict, self._held_steps())
