"""Where in the run an entry belongs: one rising step out of epochs and steps within an epoch.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math


class Unroller:
    """Counts steps on over epochs, where a log starts counting anew in each of them.

    A step that goes back while the epoch goes on is a new count; with the epoch it is a run that
    was resumed, and the step is left as it is, or counted from where that epoch started.
    """

    def __init__(self) -> None:
        self._base = 0
        self._epoch = 0
        self._step = -1
        self._bases: dict[int, int] = {}

    def place(self, step: int, epoch: float | None, epoch_steps: int | None = None) -> int:
        """Return the step since the start of the run; `epoch_steps` is an epoch's length."""
        if epoch is not None and math.isfinite(epoch):
            self._turn(math.floor(epoch), step, epoch_steps or 0)
        self._step = step
        return self._base + step

    def _turn(self, epoch: int, step: int, epoch_steps: int) -> None:
        is_anew = step < self._step or step == self._step == epoch_steps
        if epoch > self._epoch and is_anew:
            self._base += max(self._step, epoch_steps)
        elif epoch < self._epoch and self._bases:
            self._base = self._bases.get(epoch, 0)
        if epoch != self._epoch and self._base:
            self._bases[epoch] = self._base
        self._epoch = epoch
