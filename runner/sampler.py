"""Which samples each step consumes: one global order, a position that is a single integer.

The order of an epoch is a permutation drawn from (seed, epoch); epochs follow each other without a
gap, a batch may span two of them, and none of it depends on the number of ranks. So the position
after any step is the count of samples consumed so far, and it is exact at every world size.

A sample's ordinal is `epoch * size + index`: unique over the run, and `index` can be read off it.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class GlobalBatch:
    """The samples of one step over all ranks, and the position of the order behind them."""

    ordinals: tuple[int, ...]
    position: int

    def share(self, rank: int, world_size: int) -> tuple[int, ...]:
        """Return the ordinals of `rank`; shares differ by one sample at most."""
        return self.ordinals[rank::world_size]


class SampleOrder:
    """The global order of samples from `position` on, without those in `skip`."""

    def __init__(
        self,
        *,
        size: int,
        batch_size: int,
        seed: int,
        position: int = 0,
        skip: Iterable[int] = (),
    ) -> None:
        if size < 1:
            raise ValueError(f"a data set of {size} samples has no order; it needs at least one")
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.position = position
        self.skip = frozenset(skip)
        self._epoch = -1
        self._permutation: Sequence[int] = ()

    @property
    def epoch(self) -> float:
        """Return the epochs consumed so far, with a fraction."""
        return self.position / self.size

    def next_batch(self) -> GlobalBatch:
        """Return the next batch and advance the position past it."""
        ordinals: list[int] = []
        while len(ordinals) < self.batch_size:
            ordinal = self._ordinal_at(self.position)
            self.position += 1
            if ordinal not in self.skip:
                ordinals.append(ordinal)
        return GlobalBatch(tuple(ordinals), self.position)

    def _ordinal_at(self, position: int) -> int:
        epoch, offset = divmod(position, self.size)
        if epoch != self._epoch:
            generator = np.random.default_rng((self.seed, epoch))
            self._permutation = generator.permutation(self.size).tolist()
            self._epoch = epoch
        return epoch * self.size + self._permutation[offset]


def sample_rng(seed: int, ordinal: int, size: int) -> np.random.Generator:
    """Return the generator of one sample: a function of (seed, epoch, index) and nothing else."""
    epoch, index = divmod(ordinal, size)
    return np.random.default_rng((seed, epoch, index, 1))
