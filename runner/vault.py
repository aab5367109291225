"""One rank's checkpoints, in memory and on storage, behind one door.

Runs in: worker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from runner.channel import Channel, ChannelDown
from runner.checkpoint_writer import NO_HOOKS, CheckpointWriter, SaveHooks
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.memory_checkpoints import MemoryCheckpoint, MemoryCheckpoints
from runner.packing import unpack
from runner.recovery import RestorePoint
from runner.spec import CheckpointConfig
from runner.state import StateInfo, TrainState, Tree
from watchdog.errors import CheckpointError
from watchdog.records import CheckpointFailed, CheckpointSaved, Record, Storage

_log = logging.getLogger(__name__)


class Vault:
    """Saves states and gives them back. Rank 0 also writes them out and reports them."""

    def __init__(
        self,
        config: CheckpointConfig,
        placement: Placement,
        store: CheckpointStore,
        channel: Channel,
        send: Callable[[Record], None],
        *,
        attempt: int,
        hooks: SaveHooks = NO_HOOKS,
    ) -> None:
        self._store = store
        self._channel = channel
        self._send = send
        self.attempt = attempt
        self.memory_keep = config.memory_keep
        self._memory = MemoryCheckpoints(config.memory_keep, placement.device)
        self._unannounced: list[MemoryCheckpoint] = []
        self._writer: CheckpointWriter | None = None
        if placement.rank == 0:
            self._writer = CheckpointWriter(
                store, channel, send, attempt=attempt, keep=config.keep, hooks=hooks
            )

    def begin_attempt(self, attempt: int, hooks: SaveHooks = NO_HOOKS) -> None:
        """Go on in a new attempt with what memory holds."""
        self.attempt = attempt
        self._unannounced.clear()
        if self._writer is not None:
            self._writer.begin_attempt(attempt, hooks)

    def recall(self, step: int) -> tuple[Tree, StateInfo] | None:
        """Return the state after `step` from this rank's own memory, or None."""
        held = self._memory.get(step)
        if held is None:
            return None
        held.wait()
        return held.tree, held.info

    def memory_steps(self) -> tuple[int, ...]:
        """Return the steps this rank holds in memory, oldest first."""
        return self._memory.steps()

    def durable_steps(self) -> tuple[int, ...]:
        """Return the steps on storage; only rank 0 looks."""
        return () if self._writer is None else self._store.steps()

    def sound_steps(self) -> tuple[int, ...]:
        """Return the steps on storage that the watchdog does not distrust; only rank 0 looks."""
        try:
            trust = self._channel.trust() if self._writer is not None else {}
        except ChannelDown:
            trust = {}
        bad = {step for step, said in trust.items() if said in ("tainted", "quarantined")}
        return tuple(step for step in self.durable_steps() if step not in bad)

    def fence(self) -> None:
        """Call before the state changes: a copy on the device may still be reading it."""
        self._memory.fence()

    def remember(self, state: TrainState, info: StateInfo) -> None:
        """Copy the state into memory, and let a copy be kept outside of this process."""
        checkpoint = self._memory.save(state, info)
        self._unannounced.append(checkpoint)
        if self._writer is not None and self._channel.keeps_copies:
            self._writer.hold(checkpoint, {})

    def write(self, step: int, extra: Mapping[str, Any]) -> None:
        """Write the state that memory holds for `step` to storage, soon."""
        checkpoint = self._memory.get(step)
        if self._writer is not None and checkpoint is not None:
            self._writer.save(checkpoint, extra)

    def announce(self, *, is_final: bool = False) -> None:
        """Report the memory checkpoints whose copies have ended; all of them when final."""
        while self._unannounced and (is_final or self._unannounced[0].is_ready()):
            checkpoint = self._unannounced.pop(0)
            if self._writer is None:
                continue
            self._send(
                CheckpointSaved(
                    t_s=time.time(),
                    attempt=self.attempt,
                    generation=checkpoint.info.generation,
                    step=checkpoint.info.step,
                    storage=Storage.MEMORY,
                    is_finite=checkpoint.is_finite(),
                    size_bytes=checkpoint.size_bytes(),
                    held_steps=self._memory.steps(),
                )
            )

    def load(self, point: RestorePoint) -> tuple[Tree, StateInfo] | None:
        """Return the state of a point, from this rank's memory first; None if it is unreadable."""
        held = self._memory.get(point.step)
        if point.storage is Storage.MEMORY and held is not None:
            held.wait()
            return held.tree, held.info
        try:
            if point.storage is Storage.DURABLE:
                return self._store.load(point.step)
            payload = self._channel.held(point.step)
            return None if payload is None else unpack(payload)
        except (CheckpointError, ChannelDown) as error:
            self._say_unreadable(point, error)
            return None

    def drop_after(self, step: int) -> None:
        """Forget the states in memory after `step`: a rollback has superseded them."""
        self._memory.drop_after(step)
        self._unannounced = [c for c in self._unannounced if c.info.step <= step]

    def drain(self) -> None:
        """Return when everything handed to the writer is written."""
        if self._writer is not None:
            self._writer.drain()

    def close(self) -> None:
        """Write what was accepted, and settle the trust in the manifests."""
        if self._writer is not None:
            self._writer.close()
            self._writer.settle_trust()

    def _say_unreadable(self, point: RestorePoint, error: Exception) -> None:
        _log.error("step %d cannot be restored: %s", point.step, error)
        if self._writer is None:
            return
        self._send(
            CheckpointFailed(
                t_s=time.time(),
                attempt=self.attempt,
                step=point.step,
                storage=point.storage or Storage.MEMORY,
                operation="restore",
                error=str(error),
            )
        )
