"""Per-step telemetry that never blocks a step and never syncs the host with a GPU.

`step` leaves three device scalars and some host numbers in a bounded queue; a background thread
picks up those that are ready, turns them into records, and exchanges them with the watchdog for
the order that is pending. On a GPU the scalars travel by an asynchronous copy into pinned memory
and are read once its event has passed.

Runs in: worker.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from runner.channel import Channel, ChannelDown
from watchdog.records import Order, OrderKind, Record, StepReport

_log = logging.getLogger(__name__)

#: Chosen: the thread looks for finished copies this often (s); a look costs under 10 us.
_LOOK_S = 0.02
#: Chosen: the longest a healthy record waits (s); a bad one is sent at the next look.
_SEND_S = 0.1
#: Chosen: a watchdog that died serves again after 0.6 s (measured).
_LAST_CHANCE_S = 1.0
#: Chosen: steps and records kept while the watchdog does not answer; older ones are dropped.
_ROOM = 8192


@dataclass(slots=True)
class _Pending:
    """A report whose numbers may still be on their way: loss, gradient norm, applied, finite.

    `report` makes the record once they are there: in the thread that waits for them.
    """

    report: Callable[..., StepReport]
    values: torch.Tensor | tuple[torch.Tensor, ...]
    copied: torch.cuda.Event | None

    def has_arrived(self) -> bool:
        """Whether the numbers are on the host; never waits."""
        return self.copied is None or bool(self.copied.query())  # type: ignore[no-untyped-call]


class Telemetry:
    """One rank's sender. `dropped` counts records that were lost because the room was full.

    It outlives attempts. Its thread also asks at each turn for something to report, and hands on an
    order to abandon the attempt: the main thread may be stuck.
    """

    def __init__(self, channel: Channel, device: torch.device) -> None:
        self._channel = channel
        self._look: Callable[[float], Record | None] = _see_nothing
        self._give_up: Callable[[Order], None] = _do_nothing
        self._device = device
        self._steps: deque[_Pending] = deque(maxlen=_ROOM)
        self._records: deque[Record] = deque()
        self._order: Order | None = None
        self.dropped = 0
        self._failures = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._next_send = 0.0
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    @property
    def order(self) -> Order | None:
        """Return the newest order heard; reading it costs nothing."""
        return self._order

    def step(
        self,
        report: Callable[..., StepReport],
        loss: torch.Tensor,
        grad_norm: torch.Tensor,
        is_applied: torch.Tensor,
        is_finite: torch.Tensor,
    ) -> None:
        """Queue a step's report; its tensors are read later, when they are ready.

        `report` is called then, with what they say.
        """
        values: torch.Tensor | tuple[torch.Tensor, ...]
        scalars = (loss.detach(), grad_norm, is_applied, is_finite)
        if self._device.type == "cuda":
            row = torch.stack([s.reshape(()).float() for s in scalars])
            values = torch.empty(4, pin_memory=True)
            values.copy_(row, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
            self._queue(_Pending(report, values, copied))
            return
        self._queue(_Pending(report, scalars, None))
        if not is_finite:
            self._next_send = 0.0
            self._wake.set()

    def begin_attempt(
        self, look: Callable[[float], Record | None], give_up: Callable[[Order], None]
    ) -> None:
        """Forget the order heard last, which was for another attempt, and look at a new one."""
        with self._lock:
            self._order = None
            self._look, self._give_up = look, give_up

    def end_attempt(self) -> None:
        """Look at nothing until the next attempt begins."""
        self._look, self._give_up = _see_nothing, _do_nothing

    def send(self, record: Record) -> None:
        """Queue any other record."""
        self._records.append(record)

    def flush(self, timeout_s: float = 5.0) -> None:
        """Hand everything over now, or give up after `timeout_s`; never raises.

        A watchdog that is known to be silent is given `_LAST_CHANCE_S` only.
        """
        if self._failures:
            timeout_s = min(timeout_s, _LAST_CHANCE_S)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self._collect(is_final=True)
            if self._exchange():
                return
            time.sleep(_LOOK_S)
        _log.warning("telemetry: %d records not delivered in %.1f s", len(self._records), timeout_s)

    def close(self) -> None:
        """Flush and end the thread."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout=5.0)
        self.flush()

    def _queue(self, pending: _Pending) -> None:
        if len(self._steps) == self._steps.maxlen:
            self.dropped += 1
        self._steps.append(pending)

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(_LOOK_S)
            self._wake.clear()
            has_bad = self._collect(is_final=False)
            now = time.monotonic()
            seen = self._look(now)
            if seen is not None:
                self._records.append(seen)
            if has_bad or now >= self._next_send:
                self._next_send = now + _SEND_S
                self._exchange()

    def _collect(self, *, is_final: bool) -> bool:
        """Move the steps whose numbers have arrived to the records; whether one of them is bad."""
        has_bad = False
        with self._lock:
            while self._steps:
                head = self._steps[0]
                if not head.has_arrived():
                    if not is_final or head.copied is None:
                        break
                    head.copied.synchronize()
                report = _complete(self._steps.popleft())
                has_bad = has_bad or not report.is_finite
                self._records.append(report)
        return has_bad

    def _exchange(self) -> bool:
        with self._lock:
            batch = list(self._records)
            try:
                order = self._channel.exchange(batch)
            except ChannelDown as error:
                self._failures += 1
                if self._failures == 1:
                    _log.warning("telemetry: the watchdog does not answer (%s); going on", error)
                self._forget_overflow()
                return False
            self._failures = 0
            for _ in batch:
                self._records.popleft()
            if order is not None and order.kind is OrderKind.ABANDON:
                self._give_up(order)
            elif order is not None:
                known = self._order
                self._order = order if known is None else max(known, order, key=_order_id)
            return True

    def _forget_overflow(self) -> None:
        while len(self._records) > _ROOM:
            self._records.popleft()
            self.dropped += 1


def _see_nothing(now_s: float) -> Record | None:
    return None


def _do_nothing(order: Order) -> None:
    pass


def _order_id(order: Order) -> int:
    return order.order_id


def _complete(pending: _Pending) -> StepReport:
    loss, norm, applied, finite = (float(v) for v in pending.values)
    return pending.report(
        loss=loss, grad_norm=norm, is_applied=bool(applied), is_finite=bool(finite)
    )
