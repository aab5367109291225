"""Asks every enabled detector; one that raises is disabled and named, and the others go on.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from watchdog.config import WatchdogConfig
from watchdog.detectors import DETECTORS, Detector
from watchdog.findings import Cadence, Finding, Level
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals

_log = logging.getLogger(__name__)

#: A detector's name, what it is asked by, and its settings.
_Ask = tuple[str, Callable[[Signals, DetectorConfig], Finding | None], DetectorConfig]


class Panel:
    """The detectors of one run with their settings."""

    def __init__(
        self, config: WatchdogConfig, registry: Mapping[str, Detector] = DETECTORS
    ) -> None:
        self._asks: dict[Cadence, tuple[_Ask, ...]] = dict.fromkeys(Cadence, ())
        self._watched: list[Finding] = []
        for name, detector in registry.items():
            settings: DetectorConfig = config.detector(name)
            if settings.enabled:
                self._asks[detector.cadence] += ((name, detector.detect, settings),)
        self.disabled: tuple[str, ...] = ()

    def findings(self, signals: Signals) -> list[Finding]:
        """Return what the detectors find now; between two blocks, what was watched is watched on.

        An incident is told once, at the block that found it.
        """
        found = self._ask(Cadence.STEP, signals)
        if not (signals.is_block_due or signals.has_new_validation):
            return found + self._watched
        blocks = self._ask(Cadence.BLOCK, signals)
        self._watched = [finding for finding in blocks if finding.level is Level.SUSPECT]
        return found + blocks

    def silence(self, signals: Signals) -> list[Finding]:
        """Return what the detectors find that look at the clock alone."""
        return self._ask(Cadence.TICK, signals)

    def _ask(self, cadence: Cadence, signals: Signals) -> list[Finding]:
        found = []
        for name, detect, settings in self._asks[cadence]:
            try:
                finding = detect(signals, settings)
            except Exception:  # a bug in one detector may not blind the others
                _log.exception("detector %s raised and is disabled for the rest of the run", name)
                self._asks[cadence] = tuple(a for a in self._asks[cadence] if a[0] != name)
                self.disabled = (*self.disabled, name)
                continue
            if finding is not None:
                found.append(finding)
        return found
