"""The life of incidents: opened, decided on, recovered from, proven and closed.

One incident is open at a time; one that strikes before the last is closed supersedes it. After a
verdict that orders something, nothing more is decided until it was carried out.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from watchdog.budget import BudgetBook
from watchdog.config import WatchdogConfig
from watchdog.diagnosis import Diagnosis, diagnose_end
from watchdog.history import History
from watchdog.incidents import Incident, Recovery, incident_id
from watchdog.lines import (
    attempt_ended_line,
    attempt_started_line,
    incident_opened_line,
    recovery_done_line,
    trust_lines,
)
from watchdog.place import Place
from watchdog.policies import ladder
from watchdog.proof import prove
from watchdog.records import (
    NUMERIC_CAUSES,
    Action,
    AttemptEnded,
    AttemptStarted,
    Cause,
    LedgerEntry,
    LedgerKind,
    Outcome,
    RollbackDone,
    Storage,
    Verdict,
)
from watchdog.signals import Signals
from watchdog.steps import JudgedStep
from watchdog.trust import Trust, TrustBook

Conclusion = LedgerEntry | Verdict


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where the run stood when a cause was last acted on."""

    progress_steps: int
    restored_step: int | None = None


class Interventions:
    """What was decided in one run. `pending` is the verdict that is not carried out yet.

    `lr_scale` is the multiplier in force, anchored at `lr_anchor_step`; `skip_samples` are all that
    were ever ordered to be left out.
    """

    def __init__(
        self, config: WatchdogConfig, place: Place, signals: Signals, trust: TrustBook
    ) -> None:
        self._config = config
        self._place = place
        self._signals = signals
        self._trust = trust
        self._budget = BudgetBook()
        self._marks: dict[Cause, _Mark] = {}
        self._progress_at_start = 0
        self.last_verdict_id = 0
        self._is_halted = False
        self.incident: Incident | None = None
        self.pending: Verdict | None = None
        self.end_verdict: Verdict | None = None
        self.lr_scale = 1.0
        self.lr_anchor_step = 0
        self.skip_samples: set[int] = set()

    @property
    def onset_step(self) -> int | None:
        """Return the first bad step of an open numeric incident that is not recovered from."""
        incident = self.incident
        if incident is None or not incident.is_numeric or incident.recovery is not None:
            return None
        return incident.onset_step

    def is_known(self, cause: Cause) -> bool:
        """Whether an incident of this cause is open, and nobody has done anything about it yet."""
        incident = self.incident
        return incident is not None and incident.cause is cause and incident.recovery is None

    def open(self, diagnosis: Diagnosis) -> list[Conclusion]:
        """Open the incident of a diagnosis, or go on with the one it belongs to, and decide."""
        out: list[Conclusion] = []
        incident = self.incident
        if incident is None or not _is_same(incident, diagnosis):
            out += self._close(is_over=False)
            incident = self.incident = self._new_incident(diagnosis)
            out.append(incident_opened_line(self._place, incident, diagnosis))
        incident.bad_until_step = max(incident.bad_until_step, diagnosis.bad_until_step)
        if diagnosis.cause in NUMERIC_CAUSES:
            out += trust_lines(self._place, self._trust.taint_from(diagnosis.onset_step))
        self._trust.bad_step()
        return out + self._decide(incident, diagnosis)

    def attempt_ended(self, record: AttemptEnded) -> list[Conclusion]:
        """Take the end of an attempt in; an end nobody planned is an incident."""
        place = self._place
        place.attempt = max(place.attempt, record.attempt)
        place.ended_attempt = record.attempt
        ended = attempt_ended_line(place, record)
        self.end_verdict = None
        diagnosis = diagnose_end(record, place.step, self.pending)
        if diagnosis is None:
            if record.outcome is not Outcome.STOPPED:
                self.pending = None
            return [ended]
        return [ended, *self.open(diagnosis)]

    def attempt_started(self, record: AttemptStarted) -> list[Conclusion]:
        """Take over the facts of a new attempt; a pending verdict is carried out by it."""
        incident, pending = self.incident, self.pending
        if pending is not None and incident is not None:
            last = self._signals.latest
            incident.recovery = Recovery(
                mechanism="restart",
                restored_step=record.restored_step,
                storage=record.storage,
                steps_lost=max(0, self._place.step - record.restored_step),
                since_t_s=last.t_s if last is not None else pending.t_s,
                skipped_samples=tuple(pending.skip_samples),
            )
            incident.steps_lost += incident.recovery.steps_lost
            self._restored(pending, record.restored_step)
        self.lr_scale = record.lr_scale
        self._progress_at_start = self._budget.progress_steps
        started = attempt_started_line(self._place, record)
        superseded = self._trust.taint_from(record.restored_step + 1)
        return [started, *trust_lines(self._place, superseded)]

    def rollback_done(self, record: RollbackDone) -> list[Conclusion]:
        """Note that all ranks went back in place."""
        incident, pending = self.incident, self.pending
        recovery = Recovery(
            mechanism="in_place",
            restored_step=record.restored_step,
            storage=record.storage,
            steps_lost=record.steps_lost,
            since_t_s=record.t_s,
            skipped_samples=tuple(record.skipped_samples),
            seconds=record.seconds,
        )
        if incident is not None:
            incident.recovery = recovery
            incident.steps_lost += recovery.steps_lost
        self.skip_samples |= set(record.skipped_samples)  # the ranks skip whole batches
        if pending is not None:
            self.lr_scale = pending.lr_scale
            self._restored(pending, record.restored_step)
        superseded = self._trust.taint_from(record.restored_step + 1)
        return [
            recovery_done_line(self._place, incident, recovery),
            *trust_lines(self._place, superseded),
        ]

    def resumed(self) -> None:
        """A driver took the run over again; after a halt, a person did, with fresh budgets."""
        if self._is_halted:
            self._is_halted = False
            self._budget.forgive()
            self.pending = None

    def clean_step(self, judged: JudgedStep) -> list[Conclusion]:
        """Count a clean step: towards the end of the recovery, the incident and the charges."""
        self._budget.clean_step(judged.step)
        incident = self.incident
        if incident is None:
            return []
        out: list[Conclusion] = []
        recovery = incident.recovery
        if recovery is not None and recovery.seconds is None:
            recovery.seconds = max(0.0, judged.t_s - recovery.since_t_s)
            out.append(recovery_done_line(self._place, incident, recovery))
        is_past = judged.step > incident.bad_until_step
        if not is_past or (incident.is_acted_on and not incident.is_recovered):
            return out
        incident.clean_steps += 1
        if judged.loss is not None:
            incident.losses.append(judged.loss)
        if incident.passed_t_s is None:
            incident.passed_t_s = judged.t_s
        if incident.clean_steps >= self._config.incidents.close_steps:
            out += self._close(is_over=True)
        return out

    def bad_step(self) -> None:
        """Start counting clean steps anew."""
        if self.incident is not None:
            self.incident.clean_steps = 0
            self.incident.losses.clear()
            self.incident.passed_t_s = None

    def _new_incident(self, diagnosis: Diagnosis) -> Incident:
        signals = self._signals
        onset = signals.judged_step(diagnosis.onset_step)
        return Incident(
            id=incident_id(self._place.run_id, diagnosis.cause, diagnosis.onset_step),
            cause=diagnosis.cause,
            onset_step=diagnosis.onset_step,
            bad_until_step=diagnosis.bad_until_step,
            onset_t_s=onset.t_s if onset is not None else self._place.t_s,
            step_s=signals.usual_step_s(diagnosis.onset_step),
            baseline=signals.baseline,
        )

    def _decide(self, incident: Incident, diagnosis: Diagnosis) -> list[Conclusion]:
        history = self._history(incident, diagnosis)
        verdict = ladder.decide(diagnosis, history, self._config.policy)
        if self._config.mode == "observe":
            verdict = _as_observed(verdict)
        self.last_verdict_id += 1
        self._budget.bad_step(incident.bad_until_step)
        if diagnosis.is_attempt_over:
            self.end_verdict = verdict
        if verdict.action is Action.CONTINUE:
            self._signals.relearn(self._place.step)
            return [verdict]
        self.pending = verdict
        incident.is_acted_on = True
        if verdict.action is Action.HALT:
            self._is_halted = True
            return [verdict]
        if ladder.is_charged(diagnosis.cause, history):
            self._budget.charge(diagnosis.cause)
        self.skip_samples |= set(verdict.skip_samples)
        incident.recovery = None
        mechanism = "in_place" if verdict.action is Action.ROLLBACK else "restart"
        about = {"cause": verdict.cause.value, "incident": incident.id, "mechanism": mechanism}
        return [verdict, self._place.line(LedgerKind.RECOVERY_STARTED, about)]

    def _history(self, incident: Incident, diagnosis: Diagnosis) -> History:
        progress = self._budget.progress_steps
        mark = self._marks.get(diagnosis.cause)
        is_repeat = mark is not None and mark.progress_steps == progress
        return History(
            verdict_id=self.last_verdict_id + 1,
            incident=incident.id,
            t_s=self._place.t_s,
            attempt=self._place.attempt,
            generation=self._place.generation,
            step=self._place.step,
            lr_scale=self.lr_scale,
            max_lr=self._signals.max_lr,
            spent=self._budget.spent(self._config.policy.budgets.period_steps),
            trusted_steps=self._trust.steps(Trust.TRUSTED),
            durable_steps=self._trust.steps(Trust.TRUSTED, Storage.DURABLE),
            skip_samples=tuple(sorted(self.skip_samples)),
            bad_samples=self._signals.samples.of(diagnosis.bad_steps),
            is_repeat=is_repeat and diagnosis.pending is None,
            last_restored_step=mark.restored_step if mark is not None else None,
            has_progress=progress > self._progress_at_start,
        )

    def _restored(self, verdict: Verdict, restored_step: int) -> None:
        self._marks[verdict.cause] = _Mark(self._budget.progress_steps, restored_step)
        if verdict.is_numeric:
            self.lr_anchor_step = restored_step
        self.pending = None

    def _close(self, *, is_over: bool) -> list[Conclusion]:
        incident, self.incident = self.incident, None
        if incident is None:
            return []
        about = {"cause": incident.cause.value, "incident": incident.id}
        how = "clean" if is_over else "superseded"
        closed = self._place.line(LedgerKind.INCIDENT_CLOSED, {**about, "reason": how})
        if not incident.is_acted_on:
            return [closed]
        proof = prove(incident, self._place.step, is_over=is_over)
        proven = {**about, **dataclasses.asdict(proof)}
        return [closed, self._place.line(LedgerKind.PROOF, proven)]


def _is_same(incident: Incident, diagnosis: Diagnosis) -> bool:
    """Whether a diagnosis belongs to the open incident: left undone, or back at the same step."""
    if diagnosis.pending is not None:
        return True
    return incident.cause is diagnosis.cause and incident.onset_step == diagnosis.onset_step


def _as_observed(verdict: Verdict) -> Verdict:
    return dataclasses.replace(
        verdict,
        action=Action.CONTINUE,
        advised=verdict.action,
        reason=f"would {verdict.action.value}, but mode is observe: {verdict.reason}",
    )
