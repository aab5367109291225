"""The detectors; the folder is the registry.

A detector is a module with a `Config` and a `detect(signals, config) -> Finding | None`. It holds
no state: calling it twice gives one answer. One that looks at longer stretches says so with
`CADENCE = Cadence.BLOCK`, and is not asked at every step; one that looks at the clock alone with
`Cadence.TICK`, and is asked only while nothing is heard.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from watchdog.findings import Cadence, Finding
from watchdog.settings import DetectorConfig
from watchdog.signals import Signals


@dataclass(frozen=True, slots=True)
class Detector:
    """One file of this folder."""

    name: str
    config: type[DetectorConfig]
    detect: Callable[[Signals, DetectorConfig], Finding | None]
    cadence: Cadence = Cadence.STEP


def _load() -> Mapping[str, Detector]:
    found = {}
    for info in sorted(pkgutil.iter_modules(__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{__name__}.{info.name}")
        cadence = getattr(module, "CADENCE", Cadence.STEP)
        found[info.name] = Detector(info.name, module.Config, module.detect, cadence)
    return found


DETECTORS: Mapping[str, Detector] = _load()
