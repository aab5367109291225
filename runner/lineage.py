"""The lineage of a run: its generations, which checkpoint each began from, and what became of it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from watchdog.records import AttemptStarted, Record, RollbackDone, StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One stretch of training between two returns.

    It began from the state after `restored_step` (0: from scratch), read from `storage`, by `how`:
    start, in_place, or the tier of a restart. `kept_step` is the last of its steps that counts;
    what lies beyond up to `last_step` was superseded.
    """

    number: int
    attempt: int
    restored_step: int
    storage: str
    how: str
    last_step: int
    kept_step: int

    @property
    def lost_steps(self) -> int:
        """How many of its steps were superseded."""
        return max(0, self.last_step - max(self.kept_step, self.restored_step))


class LineageBuilder:
    """Takes the records of a trace one by one."""

    def __init__(self) -> None:
        self._generations: dict[int, Generation] = {}
        self._last_steps: dict[int, int] = {}
        self._guessed: set[int] = set()  # their steps came before what says how they began

    def observe(self, record: Record) -> None:
        """Take one record in; those that are not about generations are passed over."""
        match record:
            case StepReport():
                number = record.generation
                if number not in self._generations:
                    how = "start" if not self._generations else "restart"
                    self._begin(number, record.attempt, record.step - 1, "", how)
                    self._guessed.add(number)
                if record.step > self._last_steps.get(number, 0):
                    self._last_steps[number] = record.step
            case RollbackDone():
                storage = record.storage.value
                at = record.restored_step
                self._begin(record.generation, record.attempt, at, storage, "in_place")
            case AttemptStarted():
                storage = record.storage.value if record.storage else ""
                how = "start" if record.attempt == 0 else record.tier or "restart"
                at = record.restored_step
                self._begin(record.generation, record.attempt, at, storage, how)
            case _:
                pass

    def generations(self) -> tuple[Generation, ...]:
        """Return the generations in the order in which they were made."""
        found = [
            replace(known, last_step=max(known.last_step, self._last_steps.get(number, 0)))
            for number, known in sorted(self._generations.items())
        ]
        return tuple(_with_kept(found))

    def _begin(self, number: int, attempt: int, restored_step: int, storage: str, how: str) -> None:
        if number not in self._generations or number in self._guessed:
            self._guessed.discard(number)
            self._generations[number] = Generation(
                number=number,
                attempt=attempt,
                restored_step=restored_step,
                storage=storage,
                how=how,
                last_step=restored_step,
                kept_step=restored_step,
            )


def _with_kept(generations: Sequence[Generation]) -> list[Generation]:
    """Fill in what later generations left of each."""
    ceiling = math.inf
    out: list[Generation] = []
    for generation in reversed(generations):
        kept_step = int(min(generation.last_step, ceiling))
        out.append(replace(generation, kept_step=kept_step))
        ceiling = min(ceiling, generation.restored_step)
    return out[::-1]
