"""From judged steps to suspicions and incidents.

Its inputs are the steps, validations and checkpoints that count; its outputs are ledger lines and
verdicts, in the order they are concluded.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from watchdog.batch_watch import BatchWatch
from watchdog.config import WatchdogConfig
from watchdog.diagnosis import Diagnosis, diagnose
from watchdog.findings import Finding, Level
from watchdog.hard_batches import HardBatches
from watchdog.incidents import Suspicion
from watchdog.interventions import Conclusion, Interventions
from watchdog.lines import trust_lines
from watchdog.panel import Panel
from watchdog.place import Place
from watchdog.records import (
    SILENT_CAUSES,
    STORAGE_CAUSES,
    WATCHED_CAUSES,
    Action,
    Cause,
    CheckpointFailed,
    CheckpointSaved,
    EvalReport,
    LedgerKind,
    StepReport,
    Storage,
    Tick,
)
from watchdog.signals import Signals
from watchdog.steps import JudgedStep, StepAssembler
from watchdog.trust import TrustBook


class Judge:
    """Watches one run; what it concludes to act on goes to its `interventions`."""

    def __init__(self, config: WatchdogConfig, place: Place) -> None:
        self._place = place
        self._assembler = StepAssembler(config.signals.lag_steps)
        self._lag_steps = config.signals.lag_steps
        self._told_step = 0  # the newest step that rank 0 told of
        self._panel = Panel(config)
        self._restored_step: int | None = 0
        self.suspicion: Suspicion | None = None
        self._watched: dict[Cause, Suspicion] = {}
        self.signals = Signals(config.signals)
        self.trust = TrustBook(config.trust)
        self.hard_batches = HardBatches(config.hard_batches)
        self.interventions = Interventions(
            config, place, self.signals, self.trust, self.hard_batches
        )
        self._batches = BatchWatch(self.hard_batches, self.signals)

    @property
    def disabled(self) -> tuple[str, ...]:
        """Return the detectors that raised."""
        return self._panel.disabled

    def step_report(self, report: StepReport) -> list[Conclusion]:
        """Take one rank's report in.

        A non-finite step is judged at once, before it is complete: after the all-reduce every rank
        sees the same gradients. Not so while rank 0 is far behind: it tells of the checkpoints, and
        a verdict without them would have nothing to go back to.
        """
        if self.interventions.pending is not None:
            incident = self.interventions.incident
            if incident is not None and report.step in incident.bad_steps:
                self.signals.samples.note(report)  # should the ranks die before they obey
            return []
        if report.loss is not None and self.signals.is_validation_only:
            self.signals.begin_training()
        self.signals.samples.note(report)
        self.signals.ranks.note(report)
        if report.rank == 0:
            self.signals.phase_times.step(report.step_s)
            self._told_step = max(self._told_step, report.step)
        is_in_time = report.step <= self._told_step + self._lag_steps
        is_bad_news = is_in_time and self.signals.finiteness.note(report.step, report.is_finite)
        out = self._assess() if is_bad_news else []
        for judged in self._assembler.add(report):
            out += self._judge(judged)
        return out

    def validation(self, record: EvalReport) -> list[Conclusion]:
        """Take a validation in; where nobody reports a training loss, it stands in for one."""
        self.signals.heartbeat.beat(record.t_s, is_step=False)
        self.signals.phase_times.validation(record.seconds)
        if self.interventions.pending is not None:
            return []
        self.signals.observe_validation(record)
        stand_in = self.signals.stand_in(record)
        if stand_in is None:
            return self._assess()
        is_bad_news = self.signals.finiteness.note(stand_in.step, stand_in.is_finite)
        return (self._assess() if is_bad_news else []) + self._judge(stand_in)

    def tick(self, record: Tick) -> list[Conclusion]:
        """Take the clock in: silence of an attempt that lives or starts is watched."""
        self.signals.whereabouts.tick()
        if not self._is_listened_to:
            return []
        self.signals.heartbeat.tick(record.t_s)
        findings = self._panel.silence(self.signals)
        out = self._watch(findings, among=SILENT_CAUSES) if findings or self._watched else []
        return out + self._conclude(findings)

    @property
    def _is_listened_to(self) -> bool:
        """Whether there is an attempt to judge: not after its end, nor while it is being seen to.

        The attempt that carries a pending restart out may hang in its turn.
        """
        pending, attempt = self.interventions.pending, self.signals.whereabouts.attempt
        if pending is None:
            return self._place.is_attempt_live or attempt > self._place.ended_attempt
        is_under_way = attempt > max(pending.attempt, self._place.ended_attempt)
        return pending.action is Action.RESTART and is_under_way

    def checkpoint_saved(self, record: CheckpointSaved) -> list[Conclusion]:
        """Take a checkpoint in; one that is not finite is an incident."""
        self.signals.heartbeat.beat(record.t_s, is_step=False)
        if record.storage is Storage.DURABLE:
            self.signals.phase_times.checkpoint(record.seconds)
        if self.trust.has(record):
            return []
        out: list[Conclusion] = []
        if record.storage is Storage.DURABLE:
            saved = {
                "storage": record.storage.value,
                "is_finite": record.is_finite,
                "seconds": record.seconds,
                "size_bytes": record.size_bytes,
                "path": record.path,
            }
            out.append(self._place.line(LedgerKind.CHECKPOINT_SAVED, saved, step=record.step))
            out += self._watch((), among=STORAGE_CAUSES)
        changed = self.trust.saved(
            record, onset_step=self._onset_step(), restored_step=self._restored_step
        )
        out += trust_lines(self._place, changed)
        if not record.is_finite and self.interventions.pending is None:
            self.signals.bad_checkpoint_step = record.step
            out += self._assess()
            self.signals.bad_checkpoint_step = None
        return out

    def checkpoint_failed(self, record: CheckpointFailed) -> list[Conclusion]:
        """Quarantine what is damaged; tell once of storage that takes no checkpoints.

        One that could not be read this time (`read`) may be sound.
        """
        if record.operation == "save":
            summary = f"training goes on, its last checkpoint as it was: {record.error}"
            finding = Finding(
                cause=Cause.STORAGE,
                level=Level.SUSPECT,
                onset_step=record.step,
                value=None,
                threshold=None,
                summary=summary,
            )
            return self._watch([finding], among=STORAGE_CAUSES)
        if record.operation == "read":
            return []
        changed = self.trust.quarantine(record.step, record.storage)
        about = {"storage": record.storage.value, "error": record.error}
        return [
            self._place.line(LedgerKind.CHECKPOINT_QUARANTINED, about, step=c.step)
            for c in changed
            if c.storage is Storage.DURABLE
        ]

    def rewind(self, restored_step: int, world_size: int | None = None) -> list[Conclusion]:
        """Forget the steps beyond `restored_step`, and what was suspected of them."""
        suspicion, self.suspicion = self.suspicion, None
        self._restored_step = self._told_step = restored_step
        self.trust.rewound()
        self._assembler.restart(restored_step, world_size)
        self.signals.rewind(restored_step, self.interventions.lr_scale)
        if world_size is not None:
            self.signals.ranks.clear()
        self.signals.heartbeat.begin(self._place.t_s)
        watched = [self._watched.pop(c) for c in [*self._watched] if c not in STORAGE_CAUSES]
        ended = [s for s in (suspicion, *watched) if s is not None]
        return [self._suspect_line(s, "superseded", "its steps were thrown away") for s in ended]

    def _judge(self, judged: JudgedStep) -> list[Conclusion]:
        if self.interventions.pending is not None:
            return []
        self.signals.heartbeat.beat(judged.t_s, is_step=True)
        self.signals.lr_scale = self.interventions.rate.scale_at(judged.step)
        self.signals.observe_step(judged)
        out = self._assess()
        if self.interventions.pending is not None:
            return out
        self.signals.settle()
        if not judged.is_finite or self._is_doubtful:
            self.trust.bad_step()
            return out + self.interventions.bad_step(judged)
        if changed := self.trust.clean_step(judged.step):
            out += trust_lines(self._place, changed)
        self._batches.passed(judged)
        return out + self.interventions.clean_step(judged)

    def _assess(self) -> list[Conclusion]:
        """Ask the detectors and act on what they say together."""
        findings = self._panel.findings(self.signals)
        out = self._end_suspicion(findings) if self.suspicion is not None else []
        if findings or self._watched:
            out += self._watch(findings, among=WATCHED_CAUSES - STORAGE_CAUSES)
        return out + self._conclude(findings) if findings else out

    def _conclude(self, findings: Iterable[Finding]) -> list[Conclusion]:
        """Suspect what may heal by itself; open an incident of what will not."""
        diagnosis = diagnose([f for f in findings if self._is_news(f)], self._place.step)
        if diagnosis is None:
            return []
        is_excused = self._batches.excuses(self.suspicion, diagnosis, self._place.step)
        if diagnosis.level is Level.SUSPECT or is_excused:
            return self._suspect(diagnosis)
        self.suspicion = None
        return self.interventions.open(diagnosis)

    def _is_news(self, finding: Finding) -> bool:
        """Whether there is anything to decide: not on what is only told, or is being seen to."""
        is_watched = finding.cause in WATCHED_CAUSES and finding.level is Level.SUSPECT
        return not is_watched and not self.interventions.is_known(finding.cause)

    @property
    def _is_doubtful(self) -> bool:
        """Whether the newest step may not count towards trust in a checkpoint."""
        return self.suspicion is not None or Cause.GRADIENTS in self._watched

    def _watch(self, findings: Iterable[Finding], among: frozenset[Cause]) -> list[Conclusion]:
        """Tell what began and what ended among the findings that are never acted on.

        Causes that are not `among` those looked for are neither.
        """
        watched = WATCHED_CAUSES & among
        found = {f.cause: f for f in findings if f.cause in watched and f.level is Level.SUSPECT}
        out: list[Conclusion] = []
        for cause in [c for c in self._watched if c in watched and c not in found]:
            ended = self._watched.pop(cause)
            out.append(self._suspect_line(ended, "recovered", "it is no longer so"))
        for cause, finding in found.items():
            if cause in self._watched:
                continue
            opened = self._watched[cause] = Suspicion(cause, finding.onset_step)
            numbers = {"value": finding.value, "threshold": finding.threshold}
            out.append(self._suspect_line(opened, "open", finding.summary, **numbers))
        return out

    def _suspect(self, diagnosis: Diagnosis) -> list[Conclusion]:
        if self.suspicion is not None:
            return []
        self.suspicion = self._batches.suspicion(diagnosis)
        self.signals.freeze(diagnosis.onset_step)
        numbers = {"value": diagnosis.value, "threshold": diagnosis.threshold}
        remarks = self._batches.remarks(self.suspicion)
        opened = self._suspect_line(self.suspicion, "open", diagnosis.summary, **numbers, **remarks)
        tainted = self.trust.taint_from(diagnosis.onset_step)
        return [opened, *trust_lines(self._place, tainted)]

    def _end_suspicion(self, findings: Iterable[Finding]) -> list[Conclusion]:
        """A suspicion that no finding supports any more has recovered by itself."""
        suspicion = self.suspicion
        if suspicion is None or any(f.cause is suspicion.cause for f in findings):
            return []
        self.suspicion = None
        self.signals.thaw()
        self.trust.absolve_from(suspicion.onset_step, self._place.generation)
        steps = self._place.step - suspicion.onset_step + 1
        reason = f"recovered by itself within {steps} steps; nothing was done"
        self._batches.healed(suspicion, steps)
        remarks = self._batches.remarks(suspicion)
        return [self._suspect_line(suspicion, "recovered", reason, **remarks)]

    def _onset_step(self) -> int | None:
        if self.suspicion is not None:
            return self.suspicion.onset_step
        return self.interventions.onset_step

    def _suspect_line(
        self, suspicion: Suspicion, status: str, reason: str, **numbers: Any
    ) -> Conclusion:
        about = {
            "cause": suspicion.cause.value,
            "status": status,
            "onset_step": suspicion.onset_step,
            "reason": reason,
        }
        return self._place.line(LedgerKind.SUSPECT, {**about, **numbers})
