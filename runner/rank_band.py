"""What one rank was in over the wall time: a state a stretch, and how long its own work took.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from enum import IntEnum

#: The rule of `detectors.straggler`: share of a step beyond the others' own time.
SLOW_RATIO = 0.3


class RankState(IntEnum):
    """What a rank was in, what is usual first; a stretch shows the last of those that were in it.

    A stretch of minutes holds a validation as well as steps: it is one of training.
    """

    UNKNOWN = 0
    WAITING = 1  # for other ranks, for a second or more
    VALIDATING = 2
    TRAINING = 3
    STARTING = 4
    HELD = 5  # in one place of its own for a second or more
    RECOVERING = 6
    SLOW = 7
    HUNG = 8
    GONE = 9


class Band:
    """One rank: a state a stretch, and what its own time was in it."""

    __slots__ = ("codes", "down", "last_t_s", "own_s", "step_s", "steps")

    def __init__(self, stretches: int) -> None:
        self.codes = bytearray(stretches)
        self.own_s = array("d", bytes(8 * stretches))
        self.step_s = array("d", bytes(8 * stretches))
        self.steps = array("L", bytes(array("L").itemsize * stretches))
        self.last_t_s: float | None = None
        self.down: tuple[float, RankState] | None = None  # since when it is not training, and why

    def double(self) -> None:
        """Make each two stretches one, and room for as many again."""
        half = len(self.codes) // 2
        self.codes = bytearray(
            [max(self.codes[2 * i], self.codes[2 * i + 1]) for i in range(half)] + [0] * half
        )
        self.own_s = array("d", _pairs(self.own_s))
        self.step_s = array("d", _pairs(self.step_s))
        self.steps = array("L", map(int, _pairs(self.steps)))


def _pairs(sums: Sequence[float]) -> list[float]:
    """Return the sums of neighbours, and zeros for as many again."""
    half = len(sums) // 2
    return [sums[2 * i] + sums[2 * i + 1] for i in range(half)] + [0] * half


def slow_ranks(heard: Mapping[int, Band], index: int) -> frozenset[int]:
    """Return the ranks that kept the others waiting in a stretch in which all of these made steps.

    Of two ranks the faster one is the measure, of more the median.
    """
    own_s = {rank: band.own_s[index] / band.steps[index] for rank, band in heard.items()}
    usual_s = sorted(own_s.values())[(len(own_s) - 1) // 2]
    step_s = sum(b.step_s[index] / b.steps[index] for b in heard.values()) / len(heard)
    limit_s = usual_s + SLOW_RATIO * step_s
    return frozenset(rank for rank, seconds in own_s.items() if step_s > 0 and seconds > limit_s)
