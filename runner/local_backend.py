"""`workers: 0`: one rank in this very process, for a debugger.

Runs in: driver.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from runner.backend import AttemptResult, outcome_of
from runner.device import local_device
from runner.job import Job
from runner.watchdog_link import LocalChannel, Watchdog
from runner.worker import AttemptReturn, Seat, Worker
from watchdog.host import WatchdogHost
from watchdog.records import OrderKind, Outcome
from watchdog.redaction import redact

_STOPS = {OrderKind.STOP: Outcome.STOPPED, OrderKind.HALT: Outcome.HALTED}


def to_result(returned: AttemptReturn) -> AttemptResult:
    """Return the result of an attempt that came to an end by itself."""
    outcome = Outcome.FINISHED
    if returned.stopped_by is not None:
        outcome = _STOPS[returned.stopped_by]
    if returned.left is not None:  # the watchdog knows how it ended; this is for one that forgot
        return AttemptResult(Outcome.WORKER_DIED, error=returned.left)
    return AttemptResult(
        outcome,
        returned.step,
        returned.metrics or {},
        returned.trivial or {},
        reason=returned.reason,
    )


class LocalBackend:
    """Runs the worker in the calling thread."""

    def __init__(self, job: Job, run_dir: Path, checkpoints: str) -> None:
        self._job = job
        self._run_dir = run_dir
        self._checkpoints = checkpoints
        self._host: WatchdogHost | None = None

    def start(self) -> Watchdog:
        """Start the watchdog in this process."""
        self._host = WatchdogHost(
            str(self._run_dir), self._job.spec.watchdog, self._job.spec.recovery
        )
        return self._host

    def run_group(self, group: int) -> AttemptResult:
        """Run the one worker; an exception of the job begins a new attempt in place."""
        assert self._host is not None, "start comes first"
        seat = Seat(group, 0, 1, local_device(), is_remote=False)
        channel = LocalChannel(self._host)
        try:
            worker = Worker(
                self._job,
                seat,
                channel,
                self._host,
                self._checkpoints,
                self._run_dir / "stacks",
            )
            return to_result(worker.run())
        except Exception:
            error = redact(traceback.format_exc())
            return AttemptResult(outcome_of(error), error=error, rank=0)

    def close(self) -> None:
        """Stop the watchdog."""
        if self._host is not None:
            self._host.close()
