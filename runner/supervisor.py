"""One run from start to end: start an attempt, await its end, plan, start again.

The supervisor owns every restart; the watchdog only judges. It is killed and resumed without loss,
because what it decides from is the ledger, and a verdict that was written is found there again.

Runs in: driver.
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from runner.backend import AttemptResult, Backend
from runner.channel import ChannelDown
from runner.checkpoints import CheckpointStore
from runner.phases import Phase, move
from runner.runs import RunFolder
from runner.spec import RunSpec
from runner.watchdog_link import Watchdog
from watchdog.records import (
    Action,
    AttemptEnded,
    Outcome,
    Record,
    RunEnded,
    RunStarted,
    Verdict,
)
from watchdog.redaction import redact
from watchdog.tiers import backoff_s

_log = logging.getLogger(__name__)
T = TypeVar("T")

#: Chosen: the watchdog serves again 0.6 s after its death (measured); this is fifty times that.
_PATIENCE_S = 30.0

_ENDS = {
    Outcome.FINISHED: Phase.FINISHED,
    Outcome.STOPPED: Phase.STOPPED,
    Outcome.HALTED: Phase.HALTED,
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    phase: Phase
    step: int
    reason: str
    metrics: dict[str, float] = field(default_factory=dict)
    trivial: dict[str, float] = field(default_factory=dict)


class Supervisor:
    """Drives one run; `is_stopping` says whether somebody asked it to stop.

    `recovering(step)` is called between a verdict and what carries it out, for a drill.
    """

    def __init__(
        self,
        run: RunFolder,
        spec: RunSpec,
        backend: Backend,
        store: CheckpointStore,
        is_stopping: Callable[[], bool],
        recovering: Callable[[int], None] = lambda step: None,
    ) -> None:
        self._run = run
        self._spec = spec
        self._backend = backend
        self._store = store
        self._is_stopping = is_stopping
        self._recovering = recovering
        self._phase = Phase.PENDING
        self._started_s = time.time()
        self._seed = zlib.crc32(run.run_id.encode())

    def drive(self, watchdog: Watchdog, *, is_resumed: bool) -> Ending:
        """Run attempts until a terminal phase; write `result.json`; return the ending."""
        self._tell(
            watchdog,
            RunStarted(
                t_s=time.time(),
                run_id=self._run.run_id,
                job=self._spec.name,
                max_steps=self._spec.train.max_steps,
                is_resumed=is_resumed,
            ),
        )
        ending = self._groups(watchdog)
        self._phase = move(self._phase, ending.phase, ending.reason)
        self._tell(
            watchdog,
            RunEnded(
                t_s=time.time(),
                attempt=self._ask(watchdog.history).attempt,
                step=ending.step,
                state=ending.phase.value,
                reason=ending.reason,
            ),
        )
        self._write_result(watchdog, ending)
        return ending

    def _groups(self, watchdog: Watchdog) -> Ending:
        """Run worker groups until one comes to an end of the run."""
        newest_step, restarts = -1, 0
        while True:
            group = self._ask(watchdog.history).next_attempt
            self._phase = move(self._phase, Phase.STARTING, f"attempt {group}")
            result = self._backend.run_group(group)
            step = result.step
            if step is None:
                step = self._ask(watchdog.snapshot).step
            verdict = self._end_attempt(watchdog, group, result, step)
            if result.outcome is Outcome.RESIZED and not self._is_stopping():
                self._phase = move(self._phase, Phase.RESTARTING, "more workers fit")
                continue
            if result.outcome is Outcome.RESIZED:
                result = replace(result, outcome=Outcome.STOPPED)
            if result.outcome in _ENDS:
                return self._ending(_ENDS[result.outcome], step, verdict, result)
            if verdict.action is Action.HALT:
                return self._ending(Phase.HALTED, step, verdict, result)
            restarts = restarts + 1 if step <= newest_step else 0
            newest_step = max(newest_step, step)
            self._phase = move(self._phase, Phase.RESTARTING, verdict.reason)
            if self._is_stopped_during(backoff_s(restarts, self._spec.recovery, self._seed)):
                reason = f"stopped on request while recovering from: {verdict.reason}"
                return Ending(Phase.STOPPED, step, reason)
            self._recovering(step)

    def _is_stopped_during(self, wait_s: float) -> bool:
        """Wait, and return whether somebody asked the run to stop."""
        if wait_s:
            _log.info("waiting %.1f s before the next restart", wait_s)
        deadline = time.monotonic() + wait_s
        while not self._is_stopping():
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(0.1, left_s))
        return True

    def _end_attempt(
        self, watchdog: Watchdog, group: int, result: AttemptResult, step: int
    ) -> Verdict:
        """Tell how the group's last attempt ended; return the verdict on it.

        Where the roll call has seen the end before, this is no news, and the verdict is there.
        """
        record = AttemptEnded(
            t_s=time.time(),
            attempt=max(group, self._ask(watchdog.history).attempt),
            outcome=result.outcome,
            step=step,
            error=result.error,
            rank=result.rank,
            is_node_lost=result.is_node_lost,
        )
        return self._ask(lambda: watchdog.attempt_ended(record))

    def _ending(self, phase: Phase, step: int, verdict: Verdict, result: AttemptResult) -> Ending:
        reasons = {
            Phase.FINISHED: result.reason or f"all {self._spec.train.max_steps} steps done",
            Phase.STOPPED: f"stopped on request at step {step}",
        }
        reason = reasons.get(phase, verdict.reason)
        return Ending(phase, step, reason, result.metrics, result.trivial)

    def _tell(self, watchdog: Watchdog, record: Record) -> None:
        self._ask(lambda: watchdog.exchange([record]))

    def _ask(self, question: Callable[[], T]) -> T:
        """Return the watchdog's answer, waiting out its restart.

        Raises:
            ChannelDown: it did not come back in 30 s.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return question()
            except ChannelDown as error:
                if time.monotonic() > deadline:
                    raise
                _log.warning("waiting for the watchdog: %s", error)
                time.sleep(0.5)

    def _write_result(self, watchdog: Watchdog, ending: Ending) -> None:
        snapshot = self._ask(watchdog.snapshot)
        result: dict[str, Any] = {
            "state": ending.phase.value,
            "reason": redact(ending.reason),
            "step": ending.step,
            "metrics": ending.metrics,
            "trivial_metrics": ending.trivial,
            "incidents": sum(snapshot.incidents.values()),
            "rollbacks": snapshot.rollbacks,
            "restarts": sum(snapshot.restarts.values()),
            "steps_lost": snapshot.steps_lost,
            "goodput_ratio": snapshot.goodput_ratio,
            "seconds": time.time() - (snapshot.started_t_s or self._started_s),
        }
        partial = self._run.result.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1) + "\n")
        partial.replace(self._run.result)
