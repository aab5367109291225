"""Copies of memory checkpoints outside of the processes that train: the newest few, whole or not.

A state may be in one share or in one for each rank; a step counts as held when all its shares
are there and of one generation, because shares of different generations make no state.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Chosen: as many as a rank keeps itself by default; the newest may still be distrusted.
KEPT_COPIES = 6


class HeldCopies:
    """What was kept, by step and rank. A payload says what it is: see `runner.packing.pack`."""

    def __init__(self) -> None:
        self._shares: dict[int, dict[int, Mapping[str, Any]]] = {}

    def keep(self, step: int, payload: Mapping[str, Any]) -> tuple[int, ...]:
        """Keep a share of the state after `step`; return the steps this rank has shares of.

        What an earlier generation left at or after the step is superseded and let go.
        """
        rank, generation = payload.get("rank", 0), payload["info"]["generation"]
        for later in [s for s in self._shares if s >= step]:
            shares = self._shares[later]
            for old in [r for r, p in shares.items() if p["info"]["generation"] < generation]:
                del shares[old]
        self._shares.setdefault(step, {})[rank] = payload
        self._shares = {s: shares for s, shares in self._shares.items() if shares}
        for old in sorted(self._shares)[: -int(payload.get("keep", KEPT_COPIES))]:
            del self._shares[old]
        return tuple(sorted(s for s, shares in self._shares.items() if rank in shares))

    def get(self, step: int, rank: int = 0) -> Mapping[str, Any] | None:
        """Return the share of `rank`, or None; a state in one share is everybody's."""
        shares = self._shares.get(step, {})
        whole = shares.get(0)
        if whole is not None and whole.get("of", 1) == 1:
            return whole
        return shares.get(rank)

    def steps(self) -> tuple[int, ...]:
        """Return the steps whose state is whole, oldest first."""
        return tuple(sorted(s for s, shares in self._shares.items() if _is_whole(shares)))

    def drop_after(self, step: int) -> None:
        """Let go of what lies after `step`: a rollback has superseded it."""
        for later in [s for s in self._shares if s > step]:
            del self._shares[later]


def _is_whole(shares: Mapping[int, Mapping[str, Any]]) -> bool:
    one = next(iter(shares.values()))
    of, generation = one.get("of", 1), one["info"]["generation"]
    return set(shares) == set(range(of)) and all(
        p.get("of", 1) == of and p["info"]["generation"] == generation for p in shares.values()
    )
