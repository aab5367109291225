"""What `watchdog:` in a job file may say.

Every detector's settings are found under `detectors` by the name of its file.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model, model_validator

from watchdog.detectors import DETECTORS
from watchdog.hard_batches import HardBatchConfig
from watchdog.policies import ladder
from watchdog.settings import Config
from watchdog.signals import SignalsConfig
from watchdog.trust import TrustConfig

if TYPE_CHECKING:
    DetectorsConfig = Config
else:
    DetectorsConfig = create_model(
        "DetectorsConfig",
        __base__=Config,
        __module__=__name__,
        __doc__="One section for each file in watchdog/detectors/.",
        **{name: (found.config, found.config()) for name, found in DETECTORS.items()},
    )


class IncidentConfig(Config):
    """When an incident counts as over."""

    close_steps: int = Field(
        8, ge=1, le=10_000, description="Clean steps past the last bad step that close an incident."
    )
    stuck_close_steps: int = Field(
        64,
        ge=1,
        le=10_000,
        description="The same after an intervention against a plateau or its like: whether the "
        "loss is better than it stood at takes more losses to tell.",
    )


class WatchdogConfig(Config):
    """All settings of the watchdog."""

    mode: Literal["act", "observe"] = Field(
        "act",
        description="observe: judge and write down what would be done, but do nothing; a crashed "
        "attempt is not restarted either.",
    )
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address the metrics are served on; loopback unless Prometheus runs elsewhere.",
    )
    goodput_objective: float = Field(
        0.9,
        gt=0,
        lt=1,
        description="Share of wall time that is meant to be productive; the alerts on burning "
        "goodput measure against it. 0.9 to 0.97 is usual for training.",
    )
    port: int = Field(9465, ge=0, le=65535, description="Port of the metrics; 0: any that is free.")
    signals: SignalsConfig = SignalsConfig()
    detectors: DetectorsConfig = Field(default_factory=DetectorsConfig)
    policy: ladder.Config = ladder.Config()
    trust: TrustConfig = TrustConfig()
    incidents: IncidentConfig = IncidentConfig()
    hard_batches: HardBatchConfig = HardBatchConfig()

    @model_validator(mode="after")
    def _windows_fit_what_is_remembered(self) -> WatchdogConfig:
        shift, gap = self.detector("spike").shift_steps, self.signals.gap_steps
        if shift > gap:
            raise ValueError(
                f"detectors.spike.shift_steps={shift} is longer than the newest losses kept apart, "
                f"signals.gap_steps={gap}; raise the latter"
            )
        return self

    def detector(self, name: str) -> Any:
        """Return the settings of one detector; the fields are those of its own `Config`."""
        return getattr(self.detectors, name)
