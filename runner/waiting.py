"""Tells the watchdog how long a run waits for room in its cluster: that is no start-up of its own.

Runs in: driver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import ray

from runner.elastic import Resources, lacks_room
from watchdog.records import Record, RoomAwaited

#: Chosen: as often as the watchdog's clock ticks, so that the metrics show a wait while it lasts.
_TOLD_S = 1.0


class Waiting:
    """Adds up the time without room and hands it over once a second."""

    def __init__(self, tell: Callable[[Sequence[Record]], object]) -> None:
        self._tell = tell
        self._since_s: float | None = None

    def note(self, *, has_room: bool) -> None:
        """Note whether there is room now; call it often.

        Raises:
            ChannelDown: the watchdog did not answer.
        """
        now_s = time.monotonic()
        since_s = self._since_s
        if since_s is not None and (has_room or now_s - since_s >= _TOLD_S):
            self._since_s = now_s
            self._tell([RoomAwaited(t_s=time.time(), seconds=now_s - since_s)])
        if has_room:
            self._since_s = None
        elif since_s is None:
            self._since_s = now_s


class GroupWait:
    """Looks whether a worker group that was asked for has its place in the cluster."""

    def __init__(self, waiting: Waiting, worker: Resources, workers: int) -> None:
        self._waiting = waiting
        self._worker = worker
        self._workers = workers
        self._looked_s = 0.0

    def look(self) -> None:
        """Look if it is time to; call it often.

        Raises:
            ChannelDown: the watchdog did not answer.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s < _TOLD_S:
            return
        self._looked_s = now_s
        groups = ray.util.placement_group_table().values()
        self._waiting.note(has_room=not lacks_room(groups, self._worker, self._workers))
