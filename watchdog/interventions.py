"""What is decided in a run and what came of it: from a diagnosis to a verdict, a recovery, a proof.

After a verdict that orders something, nothing more is decided until it was carried out.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses

from watchdog.config import WatchdogConfig
from watchdog.diagnosis import Diagnosis, diagnose_end
from watchdog.hard_batches import HardBatches
from watchdog.incident_book import Closing, IncidentBook
from watchdog.incidents import Incident, recovered_in_place, recovering_by_restart
from watchdog.latency import Latencies
from watchdog.lines import (
    attempt_ended_line,
    attempt_started_line,
    hard_sample_rows,
    trust_lines,
)
from watchdog.place import Place
from watchdog.policies import ladder
from watchdog.prober import Prober
from watchdog.rate import Rate
from watchdog.rate_orders import RateOrders
from watchdog.records import (
    STUCK_CAUSES,
    Action,
    AttemptEnded,
    AttemptStarted,
    Cause,
    LedgerEntry,
    LedgerKind,
    LrChanged,
    Outcome,
    RollbackDone,
    Verdict,
)
from watchdog.signals import Signals
from watchdog.steps import JudgedStep
from watchdog.track_record import TrackRecord
from watchdog.trust import TrustBook

Conclusion = LedgerEntry | Verdict

#: Ends after which the run goes on from where it was, and a verdict with it.
_STOPS = frozenset({Outcome.STOPPED, Outcome.RESIZED})


class Interventions:
    """What was decided in one run.

    `pending` is the verdict that is not carried out yet, `end_verdict` what was decided when the
    last attempt ended. `is_end_ordered` says that `pending` wants living workers to
    end at once.
    """

    def __init__(
        self,
        config: WatchdogConfig,
        place: Place,
        signals: Signals,
        trust: TrustBook,
        hard_batches: HardBatches,
    ) -> None:
        self._config = config
        self._place = place
        self._signals = signals
        self._trust = trust
        self._hard_batches = hard_batches
        self._book = IncidentBook(config.incidents, place, signals)
        self._prober: Prober | None = None
        self._is_halted = False
        self.rate = Rate()
        self.record = TrackRecord(
            place, signals, trust, self.rate, config.policy.budgets.period_steps
        )
        self.pending: Verdict | None = None
        self.is_end_ordered = False
        self.latencies = Latencies()
        self.end_verdict: Verdict | None = None
        self._rate_orders = RateOrders(self.rate, self.record, config.policy)

    @property
    def incident(self) -> Incident | None:
        """Return the incident that is open, if one is."""
        return self._book.incident

    @property
    def adjustment(self) -> Verdict | None:
        """Return the change of the rate that is ordered and does not stop the judgement."""
        return self._rate_orders.pending

    @property
    def lr_scale(self) -> float:
        """Return the multiplier in force."""
        return self.rate.scale

    @property
    def onset_step(self) -> int | None:
        """Return the step from which on nothing that is saved may be trusted; None for no such."""
        if self._prober is not None and self._prober.restored_step is not None:
            return self._prober.restored_step + 1
        incident = self.incident
        if incident is None or incident.recovery is not None or not incident.is_damaging:
            return None
        return incident.onset_step

    def is_known(self, cause: Cause) -> bool:
        """Whether an incident of this cause is open, and what there is to do is being done."""
        if self._prober is not None:
            return cause in STUCK_CAUSES  # a trial is too short to be called stuck
        incident = self.incident
        return incident is not None and incident.cause is cause and incident.recovery is None

    def open(self, diagnosis: Diagnosis) -> list[Conclusion]:
        """Open the incident of a diagnosis, or go on with the one it belongs to, and decide.

        During a probe it is the trial that broke down, not the run.
        """
        if self._prober is not None:
            return self._go_on(self._prober, self._prober.fail(diagnosis.summary))
        out: list[Conclusion] = []
        if not self._book.is_same(diagnosis):
            out += self._close(is_over=False, next_cause=diagnosis.cause)
            out.append(self._book.open(diagnosis, self.rate.scale))
            opened = self._book.incident
            if opened is not None:
                self.latencies.detected(opened.cause, self._place.t_s - opened.fault_t_s)
        incident = self._book.incident
        if incident is None:
            return out
        incident.bad_until_step = max(incident.bad_until_step, diagnosis.bad_until_step)
        if incident.is_damaging:
            out += trust_lines(self._place, self._trust.taint_from(diagnosis.onset_step))
        if incident.is_numeric:
            self.rate.struck()
        self._trust.bad_step()
        return out + self._decide(incident, diagnosis)

    def attempt_ended(self, record: AttemptEnded) -> list[Conclusion]:
        """Take the end of an attempt in; an end nobody planned is an incident."""
        place = self._place
        place.attempt = max(place.attempt, record.attempt)
        place.ended_attempt = record.attempt
        out: list[Conclusion] = [attempt_ended_line(place, record), *self._abandon_probe()]
        self._rate_orders.attempt_ended(place.step)
        is_as_ordered, self.is_end_ordered = self.is_end_ordered, False
        self.end_verdict = None
        if is_as_ordered and record.outcome not in _STOPS | {Outcome.FINISHED}:
            self.end_verdict = self.pending
            return out
        diagnosis = diagnose_end(record, place.step, self.pending)
        if diagnosis is None:
            if record.outcome is Outcome.HALTED:
                self.end_verdict = self.pending  # its reason is that of the end
            if record.outcome not in _STOPS:
                self.pending = None
            return out
        return out + self.open(diagnosis)

    def attempt_started(self, record: AttemptStarted) -> list[Conclusion]:
        """Take over the facts of a new attempt; a pending verdict is carried out by it."""
        pending = self.pending
        if record.dataset_size is not None:
            self._hard_batches.dataset_size = record.dataset_size
        if pending is not None:
            last = self._signals.latest
            since_t_s = last.t_s if last is not None else pending.t_s
            self._book.recovered(
                recovering_by_restart(
                    record, pending, newest_step=self._place.step, since_t_s=since_t_s
                )
            )
            self._restored(pending, record.restored_step)
            self._hard_batches.rolled_back(pending.skip_samples if pending.is_numeric else ())
        self.rate.scale = record.lr_scale
        self.record.attempt_started()
        started = attempt_started_line(self._place, record)
        superseded = self._trust.taint_from(record.restored_step + 1)
        return [started, *trust_lines(self._place, superseded)]

    def rollback_done(self, record: RollbackDone) -> list[Conclusion]:
        """Note that all ranks went back in place."""
        recovered = self._book.recovered(recovered_in_place(record))
        self.record.leave_out(tuple(record.skipped_samples))  # the ranks skip whole batches
        self._hard_batches.rolled_back(record.skipped_samples)
        if self.pending is not None:
            self._restored(self.pending, record.restored_step)
        superseded = self._trust.taint_from(record.restored_step + 1)
        return [*recovered, *trust_lines(self._place, superseded)]

    def lr_changed(self, record: LrChanged) -> None:
        """Note that all ranks changed the rate without going back."""
        self._rate_orders.done(record)

    def resumed(self) -> list[Conclusion]:
        """A driver took the run over again; after a halt, a person did, with fresh budgets."""
        out = self._abandon_probe()
        self.is_end_ordered = False
        if self._is_halted:
            self._is_halted = False
            self.record.budget.forgive()
            self.pending = None
        return out

    def run_ended(self) -> list[Conclusion]:
        """Close what is open with the proof there is: nothing will verify it any more."""
        closing = self._book.close(
            hard_sample_rows(self._hard_batches.listed()), is_over=False, has_run_ended=True
        )
        return [] if closing is None else list(closing.lines)

    def clean_step(self, judged: JudgedStep) -> list[Conclusion]:
        """Count a clean step: towards the end of the recovery, the incident and the charges."""
        self.record.budget.clean_step(judged.step)
        self.rate.healthy_steps += 1
        if self._prober is not None:
            return self._try_on(self._prober, judged)
        self._note_recovery(judged)
        out: list[Conclusion] = list(self._book.trained(judged))
        if self._book.clean_step(judged):
            out += self._close(is_over=True)
        is_busy = self.incident is not None or self.pending is not None
        return out if is_busy else [*out, *self._rate_orders.lift()]

    def _note_recovery(self, judged: JudgedStep) -> None:
        """Count the time to recover at the first healthy step after a verdict was carried out."""
        incident = self.incident
        if incident is None or incident.recovery is None or incident.decided_t_s is None:
            return
        self.latencies.recovered(incident.cause, judged.t_s - incident.decided_t_s)
        incident.decided_t_s = None

    def bad_step(self, judged: JudgedStep) -> list[Conclusion]:
        """Start counting clean steps anew; to a trial it is a step like any other."""
        self._book.bad_step()
        return self._try_on(self._prober, judged) if self._prober is not None else []

    def _decide(self, incident: Incident, diagnosis: Diagnosis) -> list[Conclusion]:
        history, policy = self.record.history(incident, diagnosis), self._config.policy
        verdict = ladder.decide(diagnosis, history, policy)
        if self._config.mode == "observe":
            verdict = ladder.as_observed(verdict, self.rate.scale)
        self.record.budget.bad_step(incident.bad_until_step)
        if diagnosis.is_attempt_over:
            self.end_verdict = verdict
        if verdict.action is Action.CONTINUE:
            self.record.ordered(verdict)
            self._signals.relearn(self._place.step)
            return [verdict]
        incident.is_acted_on = True
        # A rank that hangs comes to no step at which it could obey with the others.
        is_unheard = diagnosis.cause is Cause.STALL and not diagnosis.is_attempt_over
        if verdict.action is Action.HALT:
            self._is_halted = True
            self.is_end_ordered = is_unheard
            return self._order(verdict)
        self.is_end_ordered = is_unheard
        if verdict.skip_samples:
            self.record.leave_out(history.bad_samples)
        if ladder.is_charged(diagnosis.cause, history):
            self.record.budget.charge(diagnosis.cause)
        if ladder.is_probing(diagnosis, history, policy):
            scales = ladder.probed_scales(history, policy)
            self._prober = Prober(verdict, scales, self.rate.scale, self._place, policy)
        return self._order(verdict)

    def _order(self, verdict: Verdict) -> list[Conclusion]:
        """Make a verdict the one that has to be carried out."""
        self.record.ordered(verdict)
        self.pending = verdict
        self._rate_orders.drop()
        if verdict.action is Action.HALT:
            return [verdict]
        if self.incident is not None:
            self.incident.recovery = None
            if self.incident.decided_t_s is None:
                self.incident.decided_t_s = verdict.t_s
        mechanism = "in_place" if verdict.action is Action.ROLLBACK else "restart"
        about = {
            "cause": verdict.cause.value,
            "incident": verdict.incident,
            "mechanism": mechanism,
        }
        return [verdict, self._place.line(LedgerKind.RECOVERY_STARTED, about)]

    def _restored(self, verdict: Verdict, restored_step: int) -> None:
        """Note where a verdict has taken the run."""
        self.pending = None
        if verdict.is_numeric:
            self.rate.restored(verdict.lr_scale, restored_step)
        is_later_trial = self._prober is not None and self._prober.restored_step is not None
        if not is_later_trial:
            self.record.acted(verdict.cause, restored_step)
        if self._prober is not None:
            self._prober.restored(restored_step)

    def _try_on(self, prober: Prober, judged: JudgedStep) -> list[Conclusion]:
        """Take a step of a trial in."""
        verdict = prober.note(judged)
        return [] if verdict is None else self._go_on(prober, verdict)

    def _go_on(self, prober: Prober, verdict: Verdict) -> list[Conclusion]:
        """Order the next trial, or what the probe came to."""
        if prober.is_over:
            self._prober = None
            if self.incident is not None:
                self.incident.trials = prober.rows
        numbered = dataclasses.replace(verdict, verdict_id=self.record.last_verdict_id + 1)
        return self._order(numbered)

    def _abandon_probe(self) -> list[Conclusion]:
        """End a probe with its attempt: the next one starts as if there had been none."""
        prober, self._prober = self._prober, None
        if prober is None:
            return []
        self.pending = None
        if prober.restored_step is None:
            return []
        self.rate.restored(prober.base_scale, prober.restored_step)
        return list(trust_lines(self._place, self._trust.taint_from(prober.restored_step + 1)))

    def _close(self, *, is_over: bool, next_cause: Cause | None = None) -> list[Conclusion]:
        has_struck_again = self.incident is not None and self.incident.cause is next_cause
        closing = self._book.close(
            hard_sample_rows(self._hard_batches.listed()),
            is_over=is_over,
            has_struck_again=has_struck_again,
        )
        if closing is None:
            return []
        out: list[Conclusion] = list(closing.lines)
        if closing.proof is None or not (is_over or has_struck_again):
            return out
        return out + self._conclude(closing, closing.proof.helped, is_over=is_over)

    def _conclude(self, closing: Closing, helped: bool, *, is_over: bool) -> list[Conclusion]:
        """Draw the consequence of a proof: what did not help is undone, or the next rung follows.

        A rate is put back only once a run that is stuck has gone on with it in vain; with an
        incident of the same cause at hand, the next rung is better.
        """
        incident = closing.incident
        is_stuck = incident.cause in STUCK_CAUSES
        is_undone = is_over and not helped and is_stuck and incident.lr_scale != self.rate.scale
        self.record.proven(incident.cause, helped=helped, was_undone=is_undone)
        if not is_undone:
            return []
        return list(self._rate_orders.undo(incident.lr_scale, incident.cause, incident.id))
