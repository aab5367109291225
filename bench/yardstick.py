"""How fast this machine is just now: a fixed loop of plain Python, to divide other figures by.

Runs in: anywhere (clock).
"""

from __future__ import annotations

import time

_ROUNDS = 500_000


def loop_ns(repeats: int = 3) -> float:
    """Return the processor time of one round of the loop, in ns: the best of `repeats`."""
    return min(_loop_s() for _ in range(repeats)) / _ROUNDS * 1e9


def _loop_s() -> float:
    begun_s = time.process_time()
    total = 0
    for i in range(_ROUNDS):
        total += i * i % 7
    return time.process_time() - begun_s
