"""The watchdog as one object: service, exporter, claims, held checkpoints and a clock tick.

It is the same object inside the Ray actor and inside a `workers: 0` process.

Runs in: watchdog actor, or the driver of an in-process run.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from watchdog.claims import Claims
from watchdog.config import WatchdogConfig
from watchdog.discovery import is_scraped, list_run, note_scrape, unlist_run
from watchdog.exporter import Exporter
from watchdog.held_copies import HeldCopies
from watchdog.history import RunHistory
from watchdog.lifeline import LifelineAddress
from watchdog.muster import Answer, Arrival, Member
from watchdog.records import AttemptEnded, Order, Record, Verdict
from watchdog.registrar import Registrar
from watchdog.service import Service
from watchdog.snapshot import Snapshot
from watchdog.tiers import RecoveryConfig, Renewal

_log = logging.getLogger(__name__)

#: Chosen: silence is judged in seconds, so a tick a second is fine enough and costs nothing.
_TICK_S = 1.0
#: Chosen: whether somebody scrapes at all is remembered for a day, so a minute is exact enough.
_NOTE_S = 60.0
#: Ends that somebody is paged for.
_PAGED_STATES = frozenset({"halted", "failed"})
#: Chosen: an answer needs a few milliseconds to leave.
_LAST_BREATH_S = 0.05


class WatchdogHost:
    """Everything the watchdog does for one run. Methods may be called from any thread."""

    def __init__(
        self,
        run_dir: str,
        config: WatchdogConfig,
        recovery: RecoveryConfig | None = None,
        *,
        address: str = "127.0.0.1",
        renewal: Renewal = Renewal.NOTHING,
    ) -> None:
        folder = Path(run_dir)
        self._service = Service(folder, config)
        self._registrar = Registrar(
            self._service,
            recovery or RecoveryConfig(),
            self.held_steps,
            host=address,
            renewal=renewal,
        )
        self._claims = Claims(folder / "drill_claims.jsonl", time.time)
        self._held = HeldCopies()
        self._held_lock = threading.Lock()
        self._folder = folder
        self._exporter = Exporter(self._service.snapshot, config.host, config.port, run=folder.name)
        list_run(folder, config.host, self._exporter.port, address)
        self._noted_t_s: float | None = None
        self._closed = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="watchdog-tick", daemon=True)
        self._ticker.start()

    def port(self) -> int:
        """Return the port the metrics are served on."""
        return self._exporter.port

    def exchange(self, records: Sequence[Record]) -> Order | None:
        """Take records in; return the order that is pending, if one is."""
        return self._registrar.exchange(records)

    def attempt_ended(self, record: AttemptEnded) -> Verdict:
        """Take the end of an attempt in; return how to go on."""
        return self._service.attempt_ended(record)

    def history(self) -> RunHistory:
        """Return what the driver needs to plan the next attempt."""
        return self._service.history()

    def snapshot(self) -> Snapshot:
        """Return the frozen view of the run."""
        return self._service.snapshot()

    def trust(self) -> Mapping[int, str]:
        """Return the trust of the durable checkpoints by step."""
        return self._service.trust()

    def request_stop(self) -> None:
        """Order all ranks to stop at the same step, with a checkpoint."""
        self._service.request_stop()

    def claim(self, key: str) -> int:
        """Return how often `key` was claimed before, and count this claim."""
        return self._claims.claim(key)

    def end_soon(self) -> None:
        """Die by SIGKILL once this call is answered, for a drill; Ray would repeat it otherwise."""
        timer = threading.Timer(_LAST_BREATH_S, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()

    def hold(self, step: int, payload: Mapping[str, Any]) -> tuple[int, ...]:
        """Keep a copy of a memory checkpoint; return the steps that its rank has copies of here."""
        with self._held_lock:
            return self._held.keep(step, payload)

    def held(self, step: int, rank: int = 0) -> Mapping[str, Any] | None:
        """Return what was kept for `step` and `rank`, or None."""
        with self._held_lock:
            return self._held.get(step, rank)

    def held_steps(self) -> tuple[int, ...]:
        """Return the steps that have a whole copy here, oldest first."""
        with self._held_lock:
            return self._held.steps()

    def drop_held_after(self, step: int) -> None:
        """Let go of the copies after `step`: a rollback has superseded them."""
        with self._held_lock:
            self._held.drop_after(step)

    def is_end_awaited(self) -> bool:
        """Whether somebody scrapes the metrics and has not read yet that the run ended.

        An end that asks for a person is awaited also by somebody who scrapes the other runs of the
        folder and has not come to this one: it may have been over before its first scrape.
        """
        if self._exporter.scraped_t_s is not None:
            return self._exporter.is_end_awaited()
        needs_a_person = self._service.snapshot().state in _PAGED_STATES
        return needs_a_person and is_scraped(self._folder, time.time())

    def enroll(self, member: Member, attempt: int, rank: int) -> LifelineAddress:
        """Take in that a worker process lives; return where its lifeline goes to."""
        return self._registrar.enroll(member, attempt, rank)

    def arrive(self, arrival: Arrival) -> Answer:
        """Take a worker process in at the roll call; it asks again until it need not wait."""
        return self._registrar.arrive(arrival)

    def leave(self, member_id: str, result: Any = None) -> None:
        """Take in that a worker process is done for good, and what it returns."""
        self._registrar.leave(member_id, result)

    def worker_died(self, group: int, number: int, detail: str, is_node_lost: bool) -> None:
        """Take in that Ray found a worker dead."""
        self._registrar.worker_died(group, number, detail, is_node_lost)

    def may_renew(self, group: int) -> bool | None:
        """Whether Ray may start anew what died; None while that is not decided."""
        return self._registrar.may_renew(group)

    def close(self) -> None:
        """Stop serving and write what is buffered."""
        self._closed.set()
        self._ticker.join()
        self._registrar.close()
        unlist_run(self._folder)
        self._exporter.close()
        self._service.close()

    def _tick(self) -> None:
        while not self._closed.wait(_TICK_S):
            self._service.tick()
            self._registrar.tick()
            self._note_scrapes()

    def _note_scrapes(self) -> None:
        """Leave word for later runs that somebody scrapes, once a minute at most."""
        scraped_t_s = self._exporter.scraped_t_s
        if scraped_t_s is None or scraped_t_s - (self._noted_t_s or 0.0) < _NOTE_S:
            return
        self._noted_t_s = scraped_t_s
        try:
            note_scrape(self._folder)
        except OSError as error:
            _log.info("could not note that the metrics are scraped: %s", error)
