"""The process group of one attempt: how its ranks find each other, and how a stuck one is freed.

A collective of gloo that waits for a peer is not ended by any call of torch; it is ended by its
connections breaking. So the sockets that came with a group are remembered, and shut down when it
has to end. A group that broke is kept for some steps of the next one: dropping it, or the DDP
around it, right after a failed collective can hang for ever.

Runs in: worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

_log = logging.getLogger(__name__)

_DESCRIPTORS = Path("/proc/self/fd")

#: Chosen: a collective that waits longer is taken for dead; the longest validation fits in it.
COLLECTIVE_TIMEOUT_S = 600
#: Chosen: all ranks come at once; the kernel lowers it to its own limit.
_MOST_WAITING = 4096
#: Chosen: the ranks leave the roll call within milliseconds of each other.
_MEETING_TIMEOUT_S = 30


class MeetingPoint:
    """A store that this process offers, in case that it becomes rank 0.

    The store itself would listen on every interface, so it is handed a listener of `host` alone.
    """

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, 0), family=family, backlog=_MOST_WAITING)
        self.store = TCPStore(
            host,
            listener.getsockname()[1],
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=_MEETING_TIMEOUT_S),
            master_listen_fd=listener.detach(),
        )

    @property
    def port(self) -> int:
        """Return the port that the store listens on."""
        return int(self.store.port)


class ProcessGroup:
    """The default group of torch.distributed during one attempt; with one rank there is none."""

    def __init__(
        self,
        attempt: int,
        rank: int,
        world_size: int,
        backend: str,
        *,
        has_writers: bool = False,
    ) -> None:
        self._attempt = attempt
        self._rank = rank
        self._world_size = world_size
        self._backend = backend
        self._before = _sockets()
        self._ours: Mapping[int, str] = {}
        self._kept: list[Any] = []
        self._lock = threading.Lock()
        self._is_retired = False
        self.side: dist.ProcessGroup | None = None
        self.writers: dist.ProcessGroup | None = None
        self._has_writers = has_writers

    def open(self, meeting: MeetingPoint, host: str, port: int) -> None:
        """Meet the other ranks at rank 0's store.

        `side` is a gloo group beside the default one; `writers` another, for a thread of each rank.
        """
        if self._world_size == 1:
            return
        store = meeting.store
        if self._rank:
            timeout = timedelta(seconds=_MEETING_TIMEOUT_S)
            store = TCPStore(host, port, is_master=False, timeout=timeout)
        self._kept.append(store)
        dist.init_process_group(
            self._backend,
            store=PrefixStore(f"attempt-{self._attempt}", store),
            rank=self._rank,
            world_size=self._world_size,
            timeout=timedelta(seconds=COLLECTIVE_TIMEOUT_S),
        )
        self.side = dist.group.WORLD if self._backend == "gloo" else dist.new_group(backend="gloo")
        dist.barrier(group=self.side)
        if self._has_writers:
            self.writers = dist.new_group(backend="gloo")
            dist.barrier(group=self.writers)
        self._kept += [dist.group.WORLD, self.side, self.writers]
        self._ours = self._sockets_to_peers()

    def unblock(self) -> None:
        """Break every connection of the group, from any thread: what waits in it raises."""
        with self._lock:
            if self._world_size == 1 or self._is_retired:
                return
            for descriptor, link in self._ours.items():
                if _link(descriptor) == link:  # descriptors are used again
                    _shut_down(descriptor)
            if self._backend == "nccl":
                _abort_nccl()

    def retire(self, *, is_broken: bool = True) -> list[Any]:
        """Take the group out of use; return what has to be kept for a while."""
        if is_broken:
            self.unblock()
        with self._lock:
            self._is_retired = True
            if dist.is_initialized():
                dist.destroy_process_group()
            return self._kept

    def _sockets_to_peers(self) -> dict[int, str]:
        """Return the new sockets whose other end is a new socket of another rank.

        Other threads open connections at the same time, and those are not to be touched.
        """
        new = {fd: link for fd, link in _sockets().items() if self._before.get(fd) != link}
        ends = {fd: found for fd in new if (found := _ends(fd)) is not None}
        all_ends: list[Any] = [None] * self._world_size
        dist.all_gather_object(all_ends, [here for here, _ in ends.values()], group=self.side)
        theirs = {end for rank, found in enumerate(all_ends) if rank != self._rank for end in found}
        return {fd: new[fd] for fd, (_, there) in ends.items() if there in theirs}


class Graveyard:
    """What broke and must not be dropped before the next attempt has done some steps."""

    #: Chosen: by then the threads of the old group have ended; 50 of 50 failures went well.
    STEPS = 8

    def __init__(self) -> None:
        self._buried: list[Any] = []
        self._steps = 0

    def bury(self, *things: Any) -> None:
        """Keep the things until some steps are done."""
        self._buried.extend(things)
        self._steps = 0

    def step_done(self) -> None:
        """Count a step, and let go in time."""
        if self._buried:
            self._steps += 1
            if self._steps >= self.STEPS:
                self._buried.clear()


def _sockets() -> dict[int, str]:
    """Return the open sockets of this process by descriptor; none where there is no /proc."""
    if not _DESCRIPTORS.is_dir():
        return {}
    links = ((int(entry.name), _link(int(entry.name))) for entry in _DESCRIPTORS.iterdir())
    return {fd: link for fd, link in links if link.startswith("socket:")}


def _link(descriptor: int) -> str:
    try:
        return str((_DESCRIPTORS / str(descriptor)).readlink())
    except OSError:  # closed meanwhile
        return ""


def _ends(descriptor: int) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """Return the addresses of both ends of a connected TCP socket, None for any other."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
        if copy.family in (socket.AF_INET, socket.AF_INET6):
            here, there = copy.getsockname(), copy.getpeername()
            return (here[0], here[1]), (there[0], there[1])
    return None


def _shut_down(descriptor: int) -> None:
    """Shut a connected TCP socket down; its descriptor stays its owner's to close."""
    with contextlib.suppress(OSError):  # closed, or not connected
        copy = socket.socket(fileno=os.dup(descriptor))
        with copy:
            if copy.family in (socket.AF_INET, socket.AF_INET6):
                copy.getpeername()
                copy.shutdown(socket.SHUT_RDWR)


def _abort_nccl() -> None:
    group = dist.group.WORLD
    if group is not None and torch.cuda.is_available():
        group._get_backend(torch.device("cuda")).abort()
