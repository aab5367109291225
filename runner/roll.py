"""A worker process's end of the roll call and of its lifeline.

Runs in: worker.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from dataclasses import replace
from typing import Any, Protocol

from runner.channel import ChannelDown
from watchdog.lifeline import LifelineAddress
from watchdog.muster import Answer, Arrival, Failure, Member, Word

_log = logging.getLogger(__name__)

#: Chosen: a watchdog serves again 0.6 s after its death; one that is silent this long is gone.
_PATIENCE_S = 60.0
#: Chosen: how often a lost line is tied anew (s).
_RETRY_S = 0.5
#: Chosen: a spare asks this often (s): quick enough to be a spare, and 50 calls a second at most.
_SPARE_POLL_S = 0.02


class RollLine(Protocol):
    """One process's line to the roll call. Every method may raise `ChannelDown`."""

    def enroll(self, member: Member, attempt: int, rank: int) -> LifelineAddress:
        """Say that this process lives; return where its lifeline goes to."""
        ...

    def arrive(self, arrival: Arrival) -> Answer:
        """Say that this process is there; asked again until the answer is not to wait."""
        ...

    def leave(self, member_id: str, result: Any = None) -> None:
        """Say that this process is done for good, and what it returns."""
        ...


def poll_s(waited_s: float, world_size: int) -> float:
    """Return how long to wait before asking again: a share of the wait so far, within bounds.

    The whole group asks at most some hundred times a second once it has waited for a while.
    """
    return min(0.05, max(0.002, waited_s / 20)) * max(1.0, world_size / 64)


class RollClient:
    """Brings one process to the roll call; `attempt` and `rank` are those it had last."""

    def __init__(self, line: RollLine, member: Member) -> None:
        self._line = line
        self._member = member
        self.attempt = -1
        self.rank = -1

    def wait(self, failure: Failure | None, port: int) -> Answer:
        """Return the answer, once it is another than to wait.

        Raises:
            ChannelDown: the watchdog did not answer for a minute.
        """
        arrival = Arrival(
            member=replace(self._member, port=port),
            attempt=self.attempt,
            rank=self.rank,
            failure=failure,
        )
        started = heard = time.monotonic()
        while True:
            now = time.monotonic()
            try:
                answer = self._line.arrive(arrival)
                heard = now
            except ChannelDown:
                if now - heard > _PATIENCE_S:
                    raise
                answer = Answer(word=Word.WAIT)
            if answer.word is not Word.WAIT:
                break
            wait_s = poll_s(now - started, self._member.world_size)
            time.sleep(_SPARE_POLL_S if answer.is_spare else wait_s)
        if answer.assignment is not None:
            self.attempt, self.rank = answer.assignment.attempt, answer.assignment.rank
        return answer

    def leave(self, result: Any) -> None:
        """Say that this process is done; never raises."""
        try:
            self._line.leave(self._member.member_id, result)
        except ChannelDown as error:
            _log.info("left without a word: %s", error)


class Lifeline:
    """Keeps a connection to the watchdog open for as long as this process lives.

    When the watchdog was restarted, tying the line anew tells it who trains.
    """

    def __init__(self, line: RollLine, member: Member, roll: RollClient) -> None:
        self._line = line
        self._member = member
        self._roll = roll
        self._socket: socket.socket | None = None
        self._closing = threading.Event()
        # A loader process that was forked off must not keep the line open after its parent.
        os.register_at_fork(after_in_child=self._hang_up)
        self._thread = threading.Thread(target=self._run, name="lifeline", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up; the roll call was told before."""
        self._closing.set()
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                _log.debug("the lifeline was down already: %s", error)
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                address = self._line.enroll(self._member, self._roll.attempt, self._roll.rank)
                self._hold(address)
            except (ChannelDown, OSError) as error:
                _log.info("no lifeline: %s; Ray alone notices a death until it is tied", error)
            self._closing.wait(_RETRY_S)

    def _hold(self, address: LifelineAddress) -> None:
        """Return when the line breaks."""
        with socket.create_connection((address.host, address.port), timeout=5.0) as line:
            line.settimeout(None)
            line.sendall(f"{address.token} {self._member.member_id}\n".encode())
            self._socket = line
            line.recv(1)
        self._socket = None

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
