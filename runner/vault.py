"""One rank's checkpoints, in memory and on storage, behind one door.

Runs in: worker.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from runner.bells import Found
from runner.channel import Channel, ChannelDown
from runner.checkpoint_writer import NO_HOOKS, CheckpointWriter, SaveHooks, StateStore
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.host_memory import memory_room
from runner.memory_budget import MemoryPlan, agree, plan_memory
from runner.memory_checkpoints import MemoryCheckpoint, MemoryCheckpoints
from runner.packing import unpack
from runner.recovery import RestorePoint
from runner.sharded_checkpoints import load_whole
from runner.spec import CheckpointConfig
from runner.state import StateInfo, TrainState, Tree, is_finite
from watchdog.errors import CheckpointDamaged, CheckpointError
from watchdog.records import CheckpointFailed, CheckpointSaved, Record, Storage

_log = logging.getLogger(__name__)
Gather = Callable[[Any], list[Any]]
#: A step that no run reaches.
_NEVER = 2**62


class Vault:
    """Saves states and gives them back.

    Where every rank has the same state, rank 0 alone writes it out; where it is shared out
    (`write_parts` says where to), every rank writes its own. Rank 0 reports for all.
    """

    def __init__(
        self,
        config: CheckpointConfig,
        placement: Placement,
        store: CheckpointStore,
        channel: Channel,
        send: Callable[[Record], None],
        *,
        attempt: int,
        is_shared_out: bool = False,
        hooks: SaveHooks = NO_HOOKS,
    ) -> None:
        self.config = config
        self._placement = placement
        self._store = store
        self._states: StateStore = store
        self._channel = channel
        self._send = send
        self.attempt = attempt
        self._is_shared_out = is_shared_out
        self.plan = MemoryPlan(config.memory_keep, config.memory_every_steps, 0, "")
        self._memory = MemoryCheckpoints(config.memory_keep, placement.device)
        self._unannounced: list[MemoryCheckpoint] = []
        self._own: Found = (-1, _NEVER)
        self._agreed: Found = (-1, _NEVER)
        self._gather: Gather | None = None
        self._writer: CheckpointWriter | None = None
        if self._is_shared_out or placement.rank == 0:
            self._writer = CheckpointWriter(
                store,
                self._states,
                channel,
                send,
                attempt=attempt,
                keep=config.keep,
                rank=placement.rank,
                of=placement.world_size if self._is_shared_out else 1,
                hooks=hooks,
            )

    def begin_attempt(self, attempt: int, hooks: SaveHooks = NO_HOOKS) -> None:
        """Go on in a new attempt with what memory holds."""
        self.attempt = attempt
        self._unannounced.clear()
        self._own = self._agreed = (-1, _NEVER)
        self._gather = None
        if self._writer is not None:
            self._writer.begin_attempt(attempt, hooks)

    def recall(self, step: int) -> tuple[Tree, StateInfo] | None:
        """Return the state after `step` from this rank's own memory, or None."""
        held = self._memory.get(step)
        if held is None:
            return None
        held.wait()
        return held.tree, held.info

    def write_parts(self, states: StateStore | None) -> None:
        """Write to and read from `states` in this attempt; None: rank 0 writes the whole."""
        if states is not None and self._writer is not None:
            self._states = self._writer.states = states

    def plan_memory(self, state: TrainState, gather: Gather) -> MemoryPlan:
        """Say how many states fit into memory, the same on all ranks, before the first is taken."""
        config, shares = self.config, self._placement.world_size if self._is_shared_out else 1
        size = state.size_bytes()
        plan = plan_memory(
            state_bytes=size,
            keep=config.memory_keep,
            every_steps=config.memory_every_steps,
            ranks_on_node=self._placement.local_world_size,
            room=memory_room(config.memory_limit_gb),
            copy_room_bytes=self._copy_room_bytes(),
            copy_bytes=size * shares if self._channel.keeps_copies else 0,
        )
        self._gather = gather
        self.plan = agree(gather(plan))
        self._memory.keep = self.plan.keep
        level = logging.WARNING if self.plan.is_reduced else logging.INFO
        _log.log(level, "%s", self.plan.sentence)
        return self.plan

    @property
    def is_writing(self) -> bool:
        """Whether a durable checkpoint is still being written here."""
        return self._writer is not None and self._writer.is_saving

    @property
    def writes_parts(self) -> bool:
        """Whether every rank writes, so that all must start to together."""
        return self._is_shared_out

    def memory_steps(self) -> tuple[int, ...]:
        """Return the steps this rank holds in memory, oldest first."""
        return self._memory.steps()

    def durable_steps(self) -> tuple[int, ...]:
        """Return the steps on storage; only rank 0 looks."""
        return self._store.steps() if self._placement.rank == 0 else ()

    def sound_steps(self) -> tuple[int, ...]:
        """Return the steps on storage that the watchdog does not distrust; only rank 0 looks."""
        try:
            trust = self._channel.trust() if self._writer is not None else {}
        except ChannelDown:
            trust = {}
        bad = {step for step, said in trust.items() if said in ("tainted", "quarantined")}
        return tuple(step for step in self.durable_steps() if step not in bad)

    def fence(self) -> None:
        """Call before the state changes: a copy may still be reading it."""
        self._memory.fence()

    def remember(self, state: TrainState, info: StateInfo) -> None:
        """Copy the state into memory, and let a copy be kept outside of this process."""
        if self.plan.keep == 0:
            return
        checkpoint = self._memory.save(state, info)
        self._unannounced.append(checkpoint)
        keep = self.plan.outside_keep
        if self._writer is not None and self._channel.keeps_copies and keep:
            again = [self._memory.get(s) for s in self._writer.lost(self.memory_steps(), keep)]
            older = [c for c in again if c is not None and c is not checkpoint]
            self._writer.hold([*older[-1:], checkpoint], keep)  # one more each time

    def write(self, state: TrainState, info: StateInfo, extra: Mapping[str, Any]) -> None:
        """Write the state to storage: soon, from memory, or at once where memory holds none."""
        if self._writer is None:
            return
        checkpoint = self._memory.get(info.step)
        if checkpoint is not None:
            self._writer.save(checkpoint, extra)
            return
        live = state.tree()
        self._writer.save_now(MemoryCheckpoint(info, live, is_finite(live)), extra)

    def announce(self, *, is_final: bool = False) -> None:
        """Report the memory checkpoints whose copies have ended; all of them when final.

        Where the state is shared out, one counts once every rank has said whether its part is
        finite.
        """
        while self._unannounced and self._may_announce(self._unannounced[0], is_final):
            checkpoint = self._unannounced.pop(0)
            if self._placement.rank == 0:
                self._say_remembered(checkpoint)

    def settle(self) -> None:
        """Report every memory checkpoint; where the state is shared out, all ranks call this."""
        for checkpoint in self._unannounced:
            checkpoint.wait()
        if self._is_shared_out and self._gather is not None:
            found = self._gather(self.found())
            self.hear((min(judged for judged, _ in found), min(bad for _, bad in found)))
        self.announce(is_final=True)

    def _may_announce(self, checkpoint: MemoryCheckpoint, is_final: bool) -> bool:
        if self._is_shared_out:
            return checkpoint.info.step <= self._agreed[0]
        return is_final or checkpoint.is_ready()

    def found(self) -> Found:
        """Return what this rank knows: the newest step it has judged, the oldest that is bad.

        A number that is not finite stays in the state, so what follows a bad step is bad.
        """
        judged, oldest_bad = self._own
        for checkpoint in self._unannounced:
            if not checkpoint.is_ready():
                break
            judged = max(judged, checkpoint.info.step)
            if not checkpoint.is_finite():
                oldest_bad = min(oldest_bad, checkpoint.info.step)
        self._own = (judged, oldest_bad)
        return self._own

    def hear(self, found: Found) -> None:
        """Take in what all ranks have found."""
        self._agreed = found

    def load(self, point: RestorePoint) -> tuple[Tree, StateInfo] | None:
        """Return the state of a point, from this rank's memory first; None if it is unreadable."""
        self.fence()
        held = self._memory.get(point.step)
        if point.storage is Storage.MEMORY and held is not None:
            held.wait()
            return held.tree, held.info
        try:
            if point.storage is Storage.DURABLE:
                return self._load_durable(point.step)
            return self._load_copy(point.step)
        except CheckpointDamaged as error:
            self._say_unreadable(point, "restore", error)
            self._quarantine(point)
        except (CheckpointError, ChannelDown) as error:
            self._say_unreadable(point, "read", error)
        return None

    def drop_after(self, step: int) -> None:
        """Forget the states in memory after `step`: a rollback has superseded them."""
        self._memory.drop_after(step)
        self._unannounced = [c for c in self._unannounced if c.info.step <= step]
        self._own = (min(self._own[0], step), _NEVER)
        self._agreed = (min(self._agreed[0], step), _NEVER)
        if self._writer is not None and self._channel.keeps_copies:
            self._writer.forget_after(step)

    def drain(self) -> None:
        """Return when everything handed to the writer is written."""
        if self._writer is not None:
            self._writer.drain()

    def close(self) -> None:
        """Write what was accepted, and settle the trust in the manifests."""
        self._memory.close()
        if self._writer is not None:
            self._writer.close()
            self._writer.settle_trust()

    def _copy_room_bytes(self) -> int:
        if not self._channel.keeps_copies:
            return 0
        try:
            return self._channel.copy_room_bytes()
        except ChannelDown as error:
            _log.info("no copies outside: %s", error)
            return 0

    def _load_durable(self, step: int) -> tuple[Tree, StateInfo]:
        return self._states.load(step) if self._is_shared_out else load_whole(self._store, step)

    def _load_copy(self, step: int) -> tuple[Tree, StateInfo] | None:
        """Return the copy outside; None if there is none, or none that fits these ranks."""
        payload = self._channel.held(step, self._placement.rank)
        shares = self._placement.world_size if self._is_shared_out else 1
        if payload is None or payload["of"] != shares:
            return None
        return unpack(payload)

    def _say_remembered(self, checkpoint: MemoryCheckpoint) -> None:
        self._send(
            CheckpointSaved(
                t_s=time.time(),
                attempt=self.attempt,
                generation=checkpoint.info.generation,
                step=checkpoint.info.step,
                storage=Storage.MEMORY,
                is_finite=checkpoint.is_finite() and checkpoint.info.step < self._agreed[1],
                size_bytes=checkpoint.size_bytes(),
                held_steps=self._memory.steps(),
            )
        )

    def _quarantine(self, point: RestorePoint) -> None:
        if point.storage is Storage.DURABLE and self._placement.rank == 0:
            try:
                self._store.quarantine(point.step)
            except OSError as error:
                _log.warning("step %d stays in sight, damaged as it is: %s", point.step, error)

    def _say_unreadable(self, point: RestorePoint, operation: str, error: Exception) -> None:
        """Tell what could not be restored; any rank may find a damage that the others do not."""
        _log.error("step %d cannot be restored: %s", point.step, error)
        self._send(
            CheckpointFailed(
                t_s=time.time(),
                attempt=self.attempt,
                step=point.step,
                storage=point.storage or Storage.MEMORY,
                operation=operation,
                error=str(error),
            )
        )
