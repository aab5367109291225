"""The doorbell of a strategy whose gradients carry none: asked over a side group, now and then.

FSDP shares parameters out, so that no gradient is the same on all ranks and a control parameter
would ring on one of them. Every few steps the ranks take the largest of what each says: whether
it rings, how long its steps take, and what it found of its memory checkpoints. The steps between
two calls follow from that time, so they are the same on all ranks.

Runs in: worker.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import torch

#: Chosen: an order waits this long at most (s); a call of 32 bytes costs 0.3 ms on two cores.
_LONGEST_WAIT_S = 0.1
#: Chosen: bounds the wait when steps become slower from one call to the next.
_MOST_STEPS = 64


class Bell(Protocol):
    """How a rank rings for all, and hears whether one rang. Every rank hears in the same step."""

    def ring(self, is_wanted: bool) -> None:
        """Set or clear this rank's ring; call before each backward pass."""
        ...

    def tie(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss that `backward` gets; its value is unchanged."""
        ...

    def listen(self) -> bool:
        """Whether any rank rang; call after each backward pass."""
        ...

    def reset(self) -> None:
        """Forget the rings on their way."""
        ...


def steps_between_calls(step_s: float) -> int:
    """Return the steps from one call to the next when a step takes `step_s` seconds."""
    return max(1, min(_MOST_STEPS, math.ceil(_LONGEST_WAIT_S / max(step_s, 1e-9))))


#: What a rank found of its memory checkpoints: the newest judged step, the oldest bad one.
Found = tuple[int, int]


class PolledBell:
    """A bell that asks the ranks by a call: `largest` returns the largest of each value of all.

    `found` returns what this rank found, `heard` takes what all ranks have found: the step up to
    which all have judged, and the oldest bad step of any.
    """

    def __init__(
        self,
        largest: Callable[[Sequence[int]], list[int]],
        found: Callable[[], Found],
        heard: Callable[[Found], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._largest = largest
        self._found = found
        self._heard = heard
        self._clock = clock
        self._is_ringing = False
        self._every = 1
        self._since = 0
        self._called = clock()

    def ring(self, is_wanted: bool) -> None:
        """Set or clear this rank's ring for the next call."""
        self._is_ringing = is_wanted

    def tie(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss as it is: gradients carry nothing here."""
        return loss

    def listen(self) -> bool:
        """Whether any rank rang, in the steps in which the ranks call each other."""
        self._since += 1
        if self._since < self._every:
            return False
        now = self._clock()
        judged, oldest_bad = self._found()
        step_us = int((now - self._called) / self._since * 1e6)
        mine = (int(self._is_ringing), step_us, -judged, -oldest_bad)
        is_rung, step_us, judged, oldest_bad = self._largest(mine)
        self._heard((-judged, -oldest_bad))
        self._every = steps_between_calls(step_us / 1e6)
        self._since, self._called = 0, self._clock()
        return bool(is_rung)

    def reset(self) -> None:
        """Do nothing: no ring is on its way between two calls."""
