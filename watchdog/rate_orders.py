"""Orders that change the learning rate and nothing else: one at a time, until the ranks obeyed it.

Judging goes on meanwhile, for nothing is being repaired.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from watchdog.policies import ladder
from watchdog.policies.rate import lift, undo
from watchdog.rate import Rate
from watchdog.records import STUCK_CAUSES, Cause, LrChanged, Verdict
from watchdog.track_record import TrackRecord


class RateOrders:
    """`pending` is the order that is not carried out yet; `rate` what is in force."""

    def __init__(self, rate: Rate, record: TrackRecord, policy: ladder.Config) -> None:
        self._record = record
        self._policy = policy
        self.rate = rate
        self.pending: Verdict | None = None

    def drop(self) -> None:
        """Forget the pending order: a verdict that repairs the run supersedes it."""
        self.pending = None

    def done(self, record: LrChanged) -> None:
        """Note that all ranks changed the rate."""
        self.rate.changed(record.lr_scale, record.step)
        if self.pending is not None and self.pending.verdict_id <= record.verdict_id:
            self.pending = None

    def attempt_ended(self, step: int) -> None:
        """Let the next attempt start with what this one did not live to carry out."""
        if self.pending is not None:
            self.rate.changed(self.pending.lr_scale, step)
            self.pending = None

    def lift(self) -> list[Verdict]:
        """Raise a lowered rate again after enough healthy steps, unless it is what helps."""
        record = self._record
        scale = self.rate.next_lift(ladder.lift_wait(record.max_steps, self._policy))
        if scale is None or self.pending is not None or record.lowered_for in STUCK_CAUSES:
            return []
        waited = self.rate.healthy_steps
        self.rate.lifted()
        return self._order(lift(scale, record.lowered_for, waited, record.here(), self._policy))

    def undo(self, scale: float, cause: Cause, incident: str) -> list[Verdict]:
        """Put back the rate that was in force before an incident of this cause."""
        return self._order(undo(scale, cause, self._record.here(incident), self._policy))

    def _order(self, verdict: Verdict) -> list[Verdict]:
        self._record.ordered(verdict)
        self.pending = verdict
        return [verdict]
