"""What room the cluster has for workers, how more is asked for, and a watch over it beside a run.

Runs in: driver.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import ray
import ray._private.state

from runner.elastic import Growth, Resources, Size, choose_size, fitting

_log = logging.getLogger(__name__)

#: Chosen: what an attempt held is free some 2 s after its end; after this long (s) less is taken.
_FREED_S = 10.0
#: Chosen: a person who waits this long (s) wonders what for.
_SAID_AFTER_S = 5.0
#: Chosen: longer than an autoscaler takes to bring a node (minutes), and not for ever.
PATIENCE_S = 1200.0
_POLL_S = 0.5
#: Chosen: looking costs the cluster's head a request; growth waits for seconds anyway.
_LOOK_S = 1.0
#: Source: ray.train, autoscaling_coordinator_client: a request lives 180 s and is renewed after 20.
_EXPIRES_S = 180.0
_RENEWED_S = 20.0
#: Chosen: a request that could not be withdrawn runs out in three minutes anyway.
_CANCELLED_S = 5.0


def free_room(worker: Resources) -> int:
    """Return how many further workers fit into the cluster now."""
    return fitting(ray._private.state.available_resources_per_node().values(), worker)


def whole_room(worker: Resources) -> int:
    """Return how many workers would fit if nothing else ran on the nodes that are alive."""
    return fitting((node["Resources"] for node in ray.nodes() if node["Alive"]), worker)


def await_room(
    bounds: tuple[int, int],
    worker: Resources,
    is_stopping: Callable[[], bool],
    request: RoomRequest | None,
    note_room: Callable[[bool], None] = lambda has_room: None,
    patience_s: float = PATIENCE_S,
) -> Size:
    """Return the number of workers to start, once at least the least number fits.

    `note_room` is told at each look whether they fit.

    While the greatest does not fit, the cluster is asked for it. Without room after `patience_s`,
    or when the run is to stop: the reason.
    """
    started_s = time.monotonic()
    is_said = False
    while True:
        free = choose_size(bounds, free_room(worker))
        if request is not None and (free.workers or 0) < bounds[1]:
            request.ask_for(bounds[1])
        hoped = choose_size(bounds, whole_room(worker))
        waited_s = time.monotonic() - started_s
        note_room(free.workers is not None)
        if free.workers is not None and (free.workers == hoped.workers or waited_s > _FREED_S):
            return free
        if waited_s > _SAID_AFTER_S and not is_said:
            is_said = True
            _log.warning("waiting for room: %s", free.reason)
        if waited_s > patience_s or is_stopping():
            return Size(None, f"{free.reason}, for {waited_s:.0f} s now")
        time.sleep(_POLL_S)


class RoomRequest:
    """Asks a cluster's autoscaler for room for further workers, until it is withdrawn.

    Nobody else does: Ray asks for what an attempt has, and looking for room brings no node. The
    request goes through the actor in which Ray Train and Ray Data put theirs together, because the
    autoscaler itself knows only one request, and the last one wins. It runs out by itself when the
    driver dies. On a cluster that does not scale it means nothing.
    """

    def __init__(self, name: str, worker: Resources) -> None:
        self._name = f"watchkeeper-{name}"
        self._worker = dict(worker)
        self._workers = 0
        self._asked_s = 0.0

    def ask_for(self, workers: int) -> None:
        """Want room for so many workers beside those that run; call it often."""
        now_s = time.monotonic()
        is_known = workers == self._workers and now_s - self._asked_s < _RENEWED_S
        if is_known or workers == self._workers == 0:
            return
        if workers == 0:
            self.withdraw()
            return
        try:
            coordinator().request_resources.remote(
                requester_id=self._name,
                resources=[self._worker] * workers,
                expire_after_s=_EXPIRES_S,
            )
        except (ImportError, AttributeError, ray.exceptions.RayError) as error:
            # The run goes on with what the cluster has.
            _log.warning("could not ask the cluster for room, asking again: %s", error)
        if workers != self._workers:
            _log.info("asking the cluster for room for %d further workers", workers)
        self._workers, self._asked_s = workers, now_s

    def withdraw(self) -> None:
        """Want nothing more."""
        if self._workers:
            self._workers = 0
            # Waited for: whoever withdraws may be about to leave the cluster.
            cancelled = coordinator().cancel_request.remote(requester_id=self._name)
            ray.wait([cancelled], timeout=_CANCELLED_S)


def coordinator() -> Any:
    """Return the actor in which the requests to a cluster's autoscaler come together."""
    # A second of imports that only elastic runs on a cluster need.
    from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as shared

    return shared.get_or_create_autoscaling_coordinator()


class RoomWatch:
    """Asks for a stop, once, when the attempt should give way to a larger one."""

    def __init__(
        self,
        bounds: tuple[int, int],
        worker: Resources,
        workers: int,
        request_stop: Callable[[], None],
        request: RoomRequest | None,
    ) -> None:
        self._worker = worker
        self._missing = bounds[1] - workers
        self._request = request
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
        if self._request is not None:
            self._request.ask_for(self._missing)
        spare = free_room(self._worker)
        if self._growth.is_due(spare, now_s):
            _log.info("%d further workers fit: stopping at a checkpoint to go on with more", spare)
            self.is_growing = True
            self._request_stop()
