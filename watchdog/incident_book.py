"""The open incident of a run: how it goes on, when it is over, and what its proof says.

One incident is open at a time; one that strikes before the last is closed supersedes it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from watchdog.config import IncidentConfig
from watchdog.diagnosis import Diagnosis
from watchdog.incidents import Incident, Recovery, incident_id
from watchdog.lines import incident_opened_line, recovery_done_line
from watchdog.place import Place
from watchdog.proof import Proof, prove
from watchdog.records import STUCK_CAUSES, LedgerEntry, LedgerKind
from watchdog.signals import Signals
from watchdog.steps import JudgedStep


@dataclass(frozen=True, slots=True)
class Closing:
    """An incident that is closed; `proof` is None if nothing had been done about it."""

    incident: Incident
    proof: Proof | None
    lines: tuple[LedgerEntry, ...]


class IncidentBook:
    """Keeps the incident that is open, if one is: `incident`."""

    def __init__(self, config: IncidentConfig, place: Place, signals: Signals) -> None:
        self._config = config
        self._place = place
        self._signals = signals
        self.incident: Incident | None = None

    def is_same(self, diagnosis: Diagnosis) -> bool:
        """Whether a diagnosis belongs to the open incident: left undone, or back at its step."""
        incident = self.incident
        if incident is None:
            return False
        if diagnosis.pending is not None:
            return True
        return incident.cause is diagnosis.cause and incident.onset_step == diagnosis.onset_step

    def open(self, diagnosis: Diagnosis, lr_scale: float) -> LedgerEntry:
        """Open the incident of a diagnosis; `lr_scale` is the multiplier in force."""
        signals = self._signals
        onset = signals.judged_step(diagnosis.onset_step)
        last_t_s = signals.heartbeat.last_t_s
        heard_t_s = last_t_s if last_t_s is not None else self._place.t_s
        self.incident = Incident(
            id=incident_id(self._place.run_id, diagnosis.cause, diagnosis.onset_step),
            cause=diagnosis.cause,
            onset_step=diagnosis.onset_step,
            bad_until_step=diagnosis.bad_until_step,
            fault_t_s=onset.t_s if onset is not None else heard_t_s,
            step_s=signals.usual_step_s(diagnosis.onset_step),
            bad_steps=diagnosis.bad_steps,
            baseline=signals.baseline,
            lr_scale=lr_scale,
        )
        return incident_opened_line(self._place, self.incident, diagnosis)

    def recovered(self, recovery: Recovery) -> list[LedgerEntry]:
        """Note that a verdict was carried out; one whose seconds are known is told at once."""
        if self.incident is not None:
            self.incident.recovery = recovery
            self.incident.steps_lost += recovery.steps_lost
        if recovery.seconds is None:
            return []
        return [recovery_done_line(self._place, self.incident, recovery)]

    def trained(self, judged: JudgedStep) -> list[LedgerEntry]:
        """End a restart that still went on: the run trains again."""
        recovery = self.incident.recovery if self.incident is not None else None
        if recovery is None or recovery.seconds is not None:
            return []
        recovery.seconds = max(0.0, judged.t_s - recovery.since_t_s)
        return [recovery_done_line(self._place, self.incident, recovery)]

    def clean_step(self, judged: JudgedStep) -> bool:
        """Count a clean step past the bad ones; return whether the incident is over."""
        incident = self.incident
        if incident is None or judged.step <= incident.bad_until_step:
            return False
        if incident.is_acted_on and not incident.is_recovered:
            return False
        incident.clean_steps += 1
        if judged.loss is not None:
            incident.losses.append(judged.loss)
        if incident.passed_t_s is None:
            incident.passed_t_s = judged.t_s
        return incident.clean_steps >= self._close_steps(incident)

    def bad_step(self) -> None:
        """Start counting clean steps anew."""
        if self.incident is not None:
            self.incident.clean_steps = 0
            self.incident.losses.clear()
            self.incident.passed_t_s = None

    def close(
        self,
        hard_batches: Iterable[Mapping[str, Any]],
        *,
        is_over: bool,
        has_struck_again: bool = False,
        has_run_ended: bool = False,
    ) -> Closing | None:
        """Close the incident that is open, with its proof if something was done about it."""
        incident, self.incident = self.incident, None
        if incident is None:
            return None
        about = {"cause": incident.cause.value, "incident": incident.id}
        how = "clean" if is_over else "run ended" if has_run_ended else "superseded"
        closed = self._place.line(LedgerKind.INCIDENT_CLOSED, {**about, "reason": how})
        if not incident.is_acted_on:
            return Closing(incident, None, (closed,))
        proof = prove(
            incident,
            self._place.step,
            is_over=is_over,
            has_struck_again=has_struck_again,
            has_run_ended=has_run_ended,
        )
        proven: dict[str, Any] = {**about, **dataclasses.asdict(proof)}
        if incident.trials:
            proven["trials"] = list(incident.trials)
        if listed := list(hard_batches):
            proven["hard_batches"] = listed
        return Closing(incident, proof, (closed, self._place.line(LedgerKind.PROOF, proven)))

    def _close_steps(self, incident: Incident) -> int:
        """Return the clean steps that end an incident: a stuck run needs more to be told apart."""
        if incident.cause in STUCK_CAUSES and incident.is_acted_on:
            return max(self._config.close_steps, self._config.stuck_close_steps)
        return self._config.close_steps
