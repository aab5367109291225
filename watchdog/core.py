"""The watchdog's judgement as one function of the records: `observe` and `snapshot`.

The same records give the same conclusions, however they are batched, live or replayed. Nothing
raises, whatever the numbers are.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from watchdog.config import WatchdogConfig
from watchdog.detectors import stall
from watchdog.gate import Entry, Gate
from watchdog.goodput import Accountant
from watchdog.history import RunHistory
from watchdog.interventions import Conclusion
from watchdog.judge import Judge
from watchdog.place import Place
from watchdog.records import (
    Action,
    AttemptEnded,
    AttemptStarted,
    CheckpointFailed,
    CheckpointSaved,
    EvalReport,
    LedgerKind,
    LrChanged,
    PhaseReport,
    Record,
    RollbackDone,
    RunEnded,
    RunStarted,
    StepReport,
    Tick,
    Verdict,
)
from watchdog.snapshot import Snapshot
from watchdog.tally import Tally
from watchdog.trust import Trust

#: Ends after which nothing verifies an intervention any more.
_FINAL_STATES = frozenset({"finished", "halted"})


class Core:
    """Judges one run over all its attempts."""

    def __init__(self, config: WatchdogConfig) -> None:
        self._config = config
        self._place = Place()
        self._gate = Gate(self._place)
        self._judge = Judge(config, self._place)
        self._tally = Tally()
        self._accountant = Accountant()

    def observe(self, record: Record) -> tuple[Conclusion, ...]:
        """Take one record in; return everything concluded from it, in order."""
        entry = self._gate.admit(record)
        self._tally.arrived(record, is_dropped=entry is Entry.STALE)
        if entry is Entry.HELD:
            is_telling = isinstance(record, StepReport) and record.rank == 0
            lost = self._gate.lost_rollback() if is_telling else None
            return () if lost is None else tuple(self._accept_start(lost))
        if entry is not Entry.ACCEPTED:
            return ()
        if isinstance(record, AttemptStarted | RollbackDone):
            return tuple(self._accept_start(record))
        return tuple(self._accept(record))

    @property
    def order(self) -> Verdict | None:
        """Return the verdict that the living workers have to carry out.

        One that says CONTINUE changes the learning rate and nothing else.
        """
        interventions = self._judge.interventions
        pending = interventions.pending
        if interventions.is_end_ordered:
            return pending
        if not self._place.is_attempt_live:
            return None
        if pending is None:
            return interventions.adjustment
        return pending if pending.action in (Action.ROLLBACK, Action.HALT) else None

    @property
    def beats(self) -> int:
        """Return how often progress was heard of: between two equal answers there was none."""
        return self._judge.signals.heartbeat.beats

    @property
    def is_end_ordered(self) -> bool:
        """Whether the order is to end at once: it came to no step, so no step can be agreed on."""
        return self._judge.interventions.is_end_ordered

    @property
    def end_verdict(self) -> Verdict | None:
        """Return what was decided when the last attempt ended; None if its end was planned."""
        return self._judge.interventions.end_verdict

    @property
    def last_verdict_id(self) -> int:
        """Return the id of the newest verdict, 0 for none."""
        return self._judge.interventions.record.last_verdict_id

    def trust(self) -> Mapping[int, str]:
        """Return the trust of the durable checkpoints by step."""
        return self._judge.trust.durable()

    def history(self) -> RunHistory:
        """Return what the next attempt is planned from."""
        interventions, trust = self._judge.interventions, self._judge.trust
        pending = interventions.pending
        if pending is not None and pending.action is Action.HALT:
            pending = None
        trusted = trust.steps(Trust.TRUSTED)
        rate = interventions.rate
        anchor, scale, from_scale = rate.anchor_step, rate.scale, rate.from_scale
        is_set = rate.is_set
        if pending is not None and pending.is_numeric:
            anchor = max((step for step in trusted if step < pending.onset_step), default=0)
            scale, from_scale, is_set = pending.lr_scale, 0.0, True
        policy = self._config.policy
        return RunHistory(
            attempt=self._place.attempt,
            next_attempt=self._place.next_attempt,
            generation=self._place.generation,
            step=self._place.step,
            lr_scale=scale,
            lr_from_scale=from_scale,
            lr_anchor_step=anchor,
            rewarmup_steps=policy.rewarmup_steps if is_set and scale > from_scale else 0,
            min_lr=policy.min_lr,
            micro_batch_scale=interventions.record.micro_batch_scale,
            skip_samples=interventions.record.skip_samples,
            trusted_steps=trusted,
            distrusted_steps=trust.distrusted_steps(),
            pending_verdict=pending,
        )

    def snapshot(self) -> Snapshot:
        """Return the frozen view of the run."""
        judge, place = self._judge, self._place
        baseline, incident = judge.signals.baseline, judge.interventions.incident
        spike = self._config.detector("spike")
        trusted = judge.trust.steps(Trust.TRUSTED)
        fields = {
            **self._tally.fields(),
            "attempt": place.attempt,
            "generation": place.generation,
            "step": place.step,
            "loss_is_finite": not judge.signals.finiteness.newest(1),
            "loss": judge.signals.last_loss,
            "loss_baseline": baseline.forecast(place.step) if baseline is not None else None,
            "loss_threshold": (
                baseline.threshold(spike.suspect_sigmas, place.step)
                if baseline is not None
                else None
            ),
            "lr_scale": judge.interventions.lr_scale,
            "open_incident": incident.id if incident is not None else None,
            "detection_s": judge.interventions.latencies.detection(),
            "recovery_s": judge.interventions.latencies.recovery(),
            "trusted_step": trusted[-1] if trusted else None,
            "hard_samples": tuple(sample.index for sample in judge.hard_batches.listed()),
            "time_s": dict(self._accountant.time_s()),
            "recovery_time_s": self._accountant.recovery_s(),
            "goodput_ratio": self._accountant.ratio(),
            "goodput_objective": self._config.goodput_objective,
            "hang_timeout_s": stall.tolerated(judge.signals, self._config.detector("stall"))[0],
            "detectors_disabled": judge.disabled,
        }
        return Snapshot(**fields)

    def _accept_start(self, record: Record) -> list[Conclusion]:
        """Take in what starts a generation, and then what was held back for it."""
        out = self._accept(record)
        for held in self._gate.release():
            if self._gate.admit(held) is Entry.ACCEPTED:
                out += self._accept(held)
        return out

    def _accept(self, record: Record) -> list[Conclusion]:
        if math.isfinite(record.t_s):
            self._place.t_s = record.t_s
        self._tally.accepted(record)
        out = self._dispatch(record)
        for verdict in out:
            if isinstance(verdict, Verdict) and verdict.action is not Action.CONTINUE:
                self._accountant.blame(verdict.cause)
        self._accountant.observe(record)
        if out:
            self._tally.concluded(out)
        return out

    def _dispatch(self, record: Record) -> list[Conclusion]:
        match record:
            case StepReport():
                self._place.step = max(self._place.step, record.step)
                return self._judge.step_report(record)
            case EvalReport():
                return self._judge.validation(record)
            case CheckpointSaved():
                return self._judge.checkpoint_saved(record)
            case CheckpointFailed():
                return self._judge.checkpoint_failed(record)
            case _:
                return self._dispatch_life(record)

    def _dispatch_life(self, record: Record) -> list[Conclusion]:
        """Handle the records of the run's life: starts, ends, and going back."""
        match record:
            case RunStarted():
                return self._run_started(record)
            case AttemptStarted():
                return self._attempt_started(record)
            case RollbackDone():
                return self._rollback_done(record)
            case LrChanged():
                self._judge.interventions.lr_changed(record)
                return []
            case PhaseReport():
                self._judge.signals.whereabouts.note(record)
                return []
            case Tick():
                return self._judge.tick(record)
            case AttemptEnded():
                return self._judge.interventions.attempt_ended(record)
            case RunEnded():
                return self._run_ended(record)
            case _:
                return []

    def _run_started(self, record: RunStarted) -> list[Conclusion]:
        place = self._place
        place.run_id, place.job = record.run_id, record.job
        place.max_steps = record.max_steps
        out: list[Conclusion] = []
        if record.is_resumed:
            place.ended_attempt = place.started_attempt  # its driver is gone, and so is it
            out += self._judge.interventions.resumed()
        about = {
            "run_id": record.run_id,
            "job": record.job,
            "max_steps": record.max_steps,
            "is_resumed": record.is_resumed,
        }
        return [place.line(LedgerKind.RUN_STARTED, about), *out]

    def _run_ended(self, record: RunEnded) -> list[Conclusion]:
        """Write the end down; one that may be resumed leaves its incident open."""
        is_final = record.state in _FINAL_STATES
        closed = self._judge.interventions.run_ended() if is_final else []
        about = {"state": record.state, "reason": record.reason}
        return [*closed, self._place.line(LedgerKind.RUN_ENDED, about, step=record.step)]

    def _attempt_started(self, record: AttemptStarted) -> list[Conclusion]:
        place = self._place
        place.attempt = place.started_attempt = record.attempt
        out = self._judge.interventions.attempt_started(record)
        place.generation, place.step = record.generation, record.restored_step
        return out + self._judge.rewind(record.restored_step, record.world_size)

    def _rollback_done(self, record: RollbackDone) -> list[Conclusion]:
        place = self._place
        out = self._judge.interventions.rollback_done(record)
        place.generation, place.step = record.generation, record.restored_step
        return out + self._judge.rewind(record.restored_step)
