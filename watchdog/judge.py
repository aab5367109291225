"""From judged steps to suspicions and incidents.

Its inputs are the steps, validations and checkpoints that count; its outputs are ledger lines and
verdicts, in the order they are concluded.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable

from watchdog.config import WatchdogConfig
from watchdog.diagnosis import Diagnosis, diagnose
from watchdog.findings import Finding, Level
from watchdog.incidents import Suspicion
from watchdog.interventions import Conclusion, Interventions
from watchdog.lines import trust_lines
from watchdog.panel import Panel
from watchdog.place import Place
from watchdog.records import (
    CheckpointFailed,
    CheckpointSaved,
    EvalReport,
    LedgerKind,
    StepReport,
    Storage,
)
from watchdog.signals import Signals
from watchdog.steps import JudgedStep, StepAssembler
from watchdog.trust import TrustBook


class Judge:
    """Watches one run; what it concludes to act on goes to its `interventions`."""

    def __init__(self, config: WatchdogConfig, place: Place) -> None:
        self._place = place
        self._assembler = StepAssembler(config.signals.lag_steps)
        self._panel = Panel(config)
        self._restored_step: int | None = 0
        self.suspicion: Suspicion | None = None
        self.signals = Signals(config.signals)
        self.trust = TrustBook(config.trust)
        self.interventions = Interventions(config, place, self.signals, self.trust)

    @property
    def disabled(self) -> tuple[str, ...]:
        """Return the detectors that raised."""
        return self._panel.disabled

    def step_report(self, report: StepReport) -> list[Conclusion]:
        """Take one rank's report in.

        A non-finite step is judged at once, before it is complete: after the all-reduce every rank
        sees the same gradients.
        """
        if self.interventions.pending is not None:
            return []
        self.signals.samples.note(report)
        is_bad_news = self.signals.finiteness.note(report.step, report.is_finite)
        out = self._assess() if is_bad_news else []
        for judged in self._assembler.add(report):
            out += self._judge(judged)
        return out

    def validation(self, record: EvalReport) -> list[Conclusion]:
        """Take a validation in."""
        if self.interventions.pending is not None:
            return []
        self.signals.observe_validation(record)
        return self._assess()

    def checkpoint_saved(self, record: CheckpointSaved) -> list[Conclusion]:
        """Take a checkpoint in; one that is not finite is an incident."""
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
        """Quarantine what failed its checksum or its restore; a failed save left nothing."""
        if record.operation == "save":
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
        self._restored_step = restored_step
        self._assembler.restart(restored_step, world_size)
        self.signals.rewind(restored_step, self.interventions.lr_scale)
        if suspicion is None:
            return []
        return [self._suspect_line(suspicion, "superseded", "its steps were thrown away")]

    def _judge(self, judged: JudgedStep) -> list[Conclusion]:
        if self.interventions.pending is not None:
            return []
        self.signals.observe_step(judged)
        out = self._assess()
        if self.interventions.pending is not None:
            return out
        self.signals.settle()
        if not judged.is_finite or self.suspicion is not None:
            self.trust.bad_step()
            self.interventions.bad_step()
            return out
        out += trust_lines(self._place, self.trust.clean_step(judged.step))
        return out + self.interventions.clean_step(judged)

    def _assess(self) -> list[Conclusion]:
        """Ask the detectors and act on what they say together."""
        findings = self._panel.findings(self.signals)
        out = self._end_suspicion(findings)
        findings = [f for f in findings if not self.interventions.is_known(f.cause)]
        diagnosis = diagnose(findings, self._place.step)
        if diagnosis is None:
            return out
        if diagnosis.level is Level.SUSPECT:
            return out + self._suspect(diagnosis)
        self.suspicion = None
        return out + self.interventions.open(diagnosis)

    def _suspect(self, diagnosis: Diagnosis) -> list[Conclusion]:
        if self.suspicion is not None:
            return []
        self.suspicion = Suspicion(diagnosis.cause, diagnosis.onset_step)
        self.signals.freeze(diagnosis.onset_step)
        numbers = {"value": diagnosis.value, "threshold": diagnosis.threshold}
        opened = self._suspect_line(self.suspicion, "open", diagnosis.summary, **numbers)
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
        return [self._suspect_line(suspicion, "recovered", reason)]

    def _onset_step(self) -> int | None:
        if self.suspicion is not None:
            return self.suspicion.onset_step
        return self.interventions.onset_step

    def _suspect_line(
        self, suspicion: Suspicion, status: str, reason: str, **numbers: float | None
    ) -> Conclusion:
        about = {
            "cause": suspicion.cause.value,
            "status": status,
            "onset_step": suspicion.onset_step,
            "reason": reason,
        }
        return self._place.line(LedgerKind.SUSPECT, {**about, **numbers})
