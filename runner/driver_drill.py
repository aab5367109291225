"""The one fault that strikes the driver: `kill_driver`.

Runs in: driver.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence

from runner.drill_grammar import During, Fault

_log = logging.getLogger(__name__)


def _kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DriverDrill:
    """Kills this process when its step is seen or its moment comes; `claim` as for a worker."""

    def __init__(
        self,
        faults: Sequence[Fault],
        claim: Callable[[str], int],
        kill: Callable[[], None] = _kill_self,
    ) -> None:
        self._faults = {
            f"{number}:{fault.name}/driver": fault
            for number, fault in enumerate(faults)
            if fault.name == "kill_driver"
        }
        self._claim = claim
        self._kill = kill

    def at_step(self, step: int) -> None:
        """Strike if a fault's step has been reached; the driver looks five times a second."""
        self._strike(None, step)

    def moment(self, during: During, step: int) -> None:
        """Strike if a fault waits for this moment."""
        self._strike(during, step)

    def recovering(self, step: int) -> None:
        """Strike after a verdict was written and before it is carried out."""
        self._strike(During.RECOVERY, step)

    def _strike(self, during: During | None, step: int) -> None:
        for key, fault in list(self._faults.items()):
            if fault.during is not during or step < fault.step:
                continue
            del self._faults[key]  # once in the life of a driver, however often `times` allows
            if self._claim(key) < fault.times:
                _log.warning("drill: the driver dies at step %d", step)
                self._kill()
