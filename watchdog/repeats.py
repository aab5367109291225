"""How long a loss has been the same to the last digit, and how many digits it is told with.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections import deque
from decimal import Decimal

#: Chosen: enough values to see one that does not end in zeros.
_REMEMBERED = 32


class Repeats:
    """The run of equal values at the end of a series.

    `count` is its length, `first_step` where it began; values that are not finite end it.
    """

    def __init__(self) -> None:
        self.count = 0
        self.first_step = 0
        self.value: float | None = None
        self._distinct: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, step: int, value: float | None) -> None:
        """Take the next value in; one that was not logged changes nothing."""
        if value is None:
            return
        if not math.isfinite(value):
            self.clear()
        elif value == self.value:
            self.count += 1
        else:
            self.value, self.count, self.first_step = value, 1, step
            self._distinct.append(value)

    def clear(self) -> None:
        """Start anew; what is known of the digits stays."""
        self.value, self.count = None, 0

    def resolution_ratio(self) -> float:
        """Return the least change that the log could show, as a share of the value; zero: inf."""
        if not self.value or not self._distinct:
            return math.inf
        quantum = min(_quantum(value) for value in self._distinct)
        return quantum / abs(self.value)


def _quantum(value: float) -> float:
    """Return the unit of the last digit that the shortest text of a number has."""
    exponent = Decimal(repr(value)).as_tuple().exponent
    return float(f"1e{exponent}")
