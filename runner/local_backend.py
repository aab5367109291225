"""`workers: 0`: one rank in this very process, for a debugger.

Runs in: driver.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from runner.backend import AttemptResult, outcome_of
from runner.device import Placement, choose_autocast, local_device
from runner.job import Job
from runner.recovery import AttemptPlan
from runner.watchdog_link import LocalChannel, Watchdog
from runner.worker import AttemptReturn, run_attempt
from watchdog.host import WatchdogHost
from watchdog.records import OrderKind, Outcome

_STOPS = {OrderKind.STOP: Outcome.STOPPED, OrderKind.HALT: Outcome.HALTED}


def to_result(returned: AttemptReturn) -> AttemptResult:
    """Return the result of an attempt that came to an end by itself."""
    outcome = Outcome.FINISHED
    if returned.stopped_by is not None:
        outcome = _STOPS[returned.stopped_by]
    return AttemptResult(
        outcome, returned.step, returned.metrics, returned.trivial, reason=returned.reason
    )


class LocalBackend:
    """Runs the attempt in the calling thread."""

    def __init__(self, job: Job, run_dir: Path, checkpoints: str) -> None:
        self._job = job
        self._run_dir = run_dir
        self._checkpoints = checkpoints
        self._host: WatchdogHost | None = None

    def start(self) -> Watchdog:
        """Start the watchdog in this process."""
        self._host = WatchdogHost(str(self._run_dir), self._job.spec.watchdog)
        return self._host

    def run_attempt(self, plan: AttemptPlan) -> AttemptResult:
        """Run one attempt; an exception of the job is a result."""
        assert self._host is not None, "start comes first"
        device = local_device()
        placement = Placement(
            rank=0,
            world_size=1,
            device=device,
            autocast=choose_autocast(self._job.spec.train.precision, device),
        )
        channel = LocalChannel(self._host)
        try:
            stacks = self._run_dir / "stacks"
            returned = run_attempt(self._job, plan, placement, channel, self._checkpoints, stacks)
            return to_result(returned)
        except Exception:
            error = traceback.format_exc()
            return AttemptResult(outcome_of(error), error=error, rank=0)

    def close(self) -> None:
        """Stop the watchdog."""
        if self._host is not None:
            self._host.close()
