"""How many workers a run gets: as many as fit into the cluster, within its range.

An attempt keeps its number of workers. When a node is lost, the next attempt takes what is left;
when room appears, the run is asked to stop at a step with a checkpoint, and the next attempt takes
more: nothing is lost, and nobody is killed. The batch of a step is the same for any number, so the
learning rate keeps its meaning.

Runs in: anywhere (pure).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Chosen: a node that joins brings its resources piece by piece, and one that flickers is no room.
_STEADY_S = 3.0
#: Chosen: a resize costs a start of all workers (some 10 s); so often it may be done at most (s).
_SETTLED_S = 30.0

#: States of a placement group that has no place, or has lost it with a node.
_HOMELESS = frozenset({"PENDING", "RESCHEDULING"})

Resources = Mapping[str, float]


def fitting(nodes: Iterable[Resources], worker: Resources) -> int:
    """Return how many workers fit into what the nodes have free; a worker fits on one node."""
    return sum(_on_node(free, worker) for free in nodes)


def _on_node(free: Resources, worker: Resources) -> int:
    wanted = [(free.get(name, 0.0), amount) for name, amount in worker.items() if amount > 0]
    # Ray counts in ten-thousandths, so a sum of decimals may be short by less than that.
    return min((int((have + 1e-4) // amount) for have, amount in wanted), default=0)


def lacks_room(groups: Iterable[Mapping[str, Any]], worker: Resources, workers: int) -> bool:
    """Whether a group of so many such workers is waiting for its place.

    Args:
        groups: the placement groups of the cluster, as Ray lists them.
        worker: what one worker takes.
        workers: how many there are in the group.
    """
    # Ray leaves resources out of which none is wanted.
    wanted = {name: amount for name, amount in worker.items() if amount > 0}
    return any(
        group["state"] in _HOMELESS and list(group["bundles"].values()) == [wanted] * workers
        for group in groups
    )


@dataclass(frozen=True, slots=True)
class Size:
    """How many workers to start now; None: too few fit, for this reason."""

    workers: int | None
    reason: str


def choose_size(bounds: tuple[int, int], room: int) -> Size:
    """Return the number of workers of an attempt that starts now."""
    low, high = bounds
    if room < low:
        return Size(None, f"{room} of at least {low} workers fit into the cluster")
    workers = min(room, high)
    return Size(workers, f"{workers} workers of {low} to {high}: {room} fit")


class Growth:
    """Says when a running attempt should give way to a larger one; time is an argument."""

    def __init__(self, bounds: tuple[int, int], workers: int, started_s: float) -> None:
        self._high = bounds[1]
        self._workers = workers
        self._started_s = started_s
        self._room_since_s: float | None = None

    def is_due(self, spare: int, now_s: float) -> bool:
        """Whether to stop and start again larger: `spare` further workers fit, and stay fitting."""
        if spare <= 0 or self._workers >= self._high:
            self._room_since_s = None
            return False
        if self._room_since_s is None:
            self._room_since_s = now_s
        is_steady = now_s - self._room_since_s >= _STEADY_S
        return is_steady and now_s - self._started_s >= _SETTLED_S
