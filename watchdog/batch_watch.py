"""Tells the registry of hard batches what became of each step, and suspicions whose batch it was.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from typing import Any

from watchdog.diagnosis import Diagnosis
from watchdog.hard_batches import HardBatches
from watchdog.incidents import Suspicion
from watchdog.records import Cause
from watchdog.signals import Signals
from watchdog.steps import JudgedStep

#: Chosen: a loss this close over its forecast (in robust standard deviations) clears its samples.
_BAND_SIGMAS = 3.0


class BatchWatch:
    """Stands between the judge and the registry of one run."""

    def __init__(self, registry: HardBatches, signals: Signals) -> None:
        self._registry = registry
        self._signals = signals

    def suspicion(self, diagnosis: Diagnosis) -> Suspicion:
        """Return the suspicion of a diagnosis, with the batch whose loss was the worst of it.

        The onset may lie before: a detector counts from where the loss began to be high.
        """
        onset, baseline = diagnosis.onset_step, self._signals.baseline
        if diagnosis.cause is not Cause.SPIKE or baseline is None:
            return Suspicion(diagnosis.cause, onset)
        excesses = {
            judged.step: baseline.excess(judged.loss, judged.step)
            for judged in self._signals.history
            if judged.step >= onset and judged.loss is not None and math.isfinite(judged.loss)
        }
        worst = max(excesses, key=lambda step: excesses[step], default=onset)
        samples = self._signals.samples.of((worst,))
        return Suspicion(diagnosis.cause, onset, samples, excesses.get(worst))

    def remarks(self, suspicion: Suspicion) -> dict[str, Any]:
        """Return what a ledger line says of the batch: the hard samples in it, if there are any."""
        known = self._registry.known(suspicion.samples)
        return {"hard_samples": list(known)} if known else {}

    def excuses(self, suspicion: Suspicion | None, diagnosis: Diagnosis, step: int) -> bool:
        """Whether an incident is only a hard batch that takes as long to heal as it always has."""
        if suspicion is None or diagnosis.cause is not Cause.SPIKE:
            return False
        return step - suspicion.onset_step < self._registry.patience_steps(suspicion.samples)

    def healed(self, suspicion: Suspicion, steps: int) -> None:
        """Note that a suspicion came to nothing within `steps`."""
        self._registry.healed(suspicion.samples, suspicion.excess, steps)

    def passed(self, judged: JudgedStep) -> None:
        """Clear the samples of a clean step whose loss was as forecast."""
        baseline = self._signals.baseline
        if self._registry.is_empty or baseline is None or judged.loss is None:
            return
        if math.isfinite(judged.loss) and baseline.excess(judged.loss, judged.step) < _BAND_SIGMAS:
            self._registry.passed(self._signals.samples.of((judged.step,)))
