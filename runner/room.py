"""What room the cluster has for workers, and a watch over it beside a running attempt.

Runs in: driver.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import ray
import ray._private.state

from runner.elastic import Growth, Resources, Size, choose_size, fitting

_log = logging.getLogger(__name__)

#: Chosen: what an attempt held is free some 2 s after its end; after this long (s) less is taken.
_FREED_S = 10.0
#: Chosen: longer than an autoscaler takes to bring a node (minutes), and not for ever.
_PATIENCE_S = 1200.0
_POLL_S = 0.5
#: Chosen: looking costs the cluster's head a request; growth waits for seconds anyway.
_LOOK_S = 1.0


def free_room(worker: Resources) -> int:
    """Return how many further workers fit into the cluster now."""
    return fitting(ray._private.state.available_resources_per_node().values(), worker)


def whole_room(worker: Resources) -> int:
    """Return how many workers would fit if nothing else ran on the nodes that are alive."""
    return fitting((node["Resources"] for node in ray.nodes() if node["Alive"]), worker)


def await_room(bounds: tuple[int, int], worker: Resources, is_stopping: Callable[[], bool]) -> Size:
    """Return the number of workers to start, once at least the least number fits.

    Without one after `_PATIENCE_S`, or when the run is to stop: the reason.
    """
    started_s = time.monotonic()
    while True:
        free = choose_size(bounds, free_room(worker))
        hoped = choose_size(bounds, whole_room(worker))
        waited_s = time.monotonic() - started_s
        if free.workers is not None and (free.workers == hoped.workers or waited_s > _FREED_S):
            return free
        if waited_s > _PATIENCE_S or is_stopping():
            return Size(None, f"{free.reason}, for {waited_s:.0f} s now")
        time.sleep(_POLL_S)


class RoomWatch:
    """Asks for a stop, once, when the attempt should give way to a larger one."""

    def __init__(
        self,
        bounds: tuple[int, int],
        worker: Resources,
        workers: int,
        request_stop: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._request_stop = request_stop
        self._growth = Growth(bounds, workers, time.monotonic())
        self._looked_s = 0.0
        self.is_growing = False

    def look(self) -> None:
        """Look at the cluster if it is time to; call it often."""
        now_s = time.monotonic()
        if self.is_growing or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        spare = free_room(self._worker)
        if self._growth.is_due(spare, now_s):
            _log.info("%d further workers fit: stopping at a checkpoint to go on with more", spare)
            self.is_growing = True
            self._request_stop()
