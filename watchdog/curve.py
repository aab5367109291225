"""The whole loss curve of a run in bounded memory: medians of blocks that grow with it.

Learning slows down like a power of the step, so progress has to be looked for over a share of the
run's age; that needs all of the curve, but the older it gets, the coarser it may be.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from typing import NamedTuple

from watchdog.baseline import median

_FIRST_SIZE = 2
_MAX_BLOCKS = 256


class Block(NamedTuple):
    """Losses of neighbouring steps: where the first and the last are, and what is typical."""

    first_step: int
    last_step: int
    loss: float


class Curve:
    """Blocks of equal numbers of losses, oldest first; constant cost a step on average."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.size = _FIRST_SIZE
        self._open: list[tuple[int, float]] = []

    def add(self, step: int, loss: float) -> None:
        """Take a finite loss in; steps rise."""
        self._open.append((step, loss))
        if len(self._open) < self.size:
            return
        typical = median([value for _, value in self._open])
        self.blocks.append(Block(self._open[0][0], step, typical))
        self._open.clear()
        if len(self.blocks) >= _MAX_BLOCKS:
            self._halve()

    def truncate(self, step: int) -> None:
        """Forget the blocks that reach beyond `step`."""
        while self.blocks and self.blocks[-1].last_step > step:
            self.blocks.pop()
        self._open = [point for point in self._open if point[0] <= step]

    def newest(self, count: int) -> list[Block]:
        """Return the blocks that hold the newest `count` losses, but for an incomplete one."""
        return self.blocks[-max(1, count // self.size) :]

    def _halve(self) -> None:
        pairs = zip(self.blocks[::2], self.blocks[1::2], strict=True)
        self.blocks = [Block(a.first_step, b.last_step, (a.loss + b.loss) / 2) for a, b in pairs]
        self.size *= 2


def regroup(blocks: list[Block], count: int) -> list[Block]:
    """Return at most `count` blocks in place of many: equal groups, the oldest remainder left out.

    Fewer than `count` are returned as they are.
    """
    per_group = max(1, len(blocks) // count)
    if per_group == 1:
        return blocks[-count:]
    start = len(blocks) - per_group * count
    shares = [block.loss / per_group for block in blocks]
    return [
        Block(
            blocks[i].first_step,
            blocks[i + per_group - 1].last_step,
            sum(shares[i : i + per_group]),
        )
        for i in range(start, len(blocks), per_group)
    ]
