"""Writes checkpoints behind the training's back: durable ones to storage, copies to the watchdog.

One thread for storage and one for copies, one job at a time each, so that a slow disk holds no copy
up. What is due while the last is still under way is passed over and counted: that costs
checkpoints, never steps. Storage that refuses is said once, and once more when it takes checkpoints
again; a full one first loses what need not be kept.

Runs in: worker.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from runner.channel import Channel, ChannelDown
from runner.checkpoints import CheckpointStore, SavedCheckpoint, to_retire
from runner.files import is_full
from runner.memory_checkpoints import MemoryCheckpoint
from runner.packing import pack
from runner.state import StateInfo, Tree
from watchdog.errors import CheckpointError
from watchdog.records import CheckpointFailed, CheckpointSaved, Record, Storage

_log = logging.getLogger(__name__)


class StateStore(Protocol):
    """Where states are written to and read from: whole, or each rank its own part."""

    def save(
        self, tree: Tree, info: StateInfo, extra: Mapping[str, Any], *, is_finite: bool = True
    ) -> SavedCheckpoint:
        """Write the state after `info.step`; raises `CheckpointError` when storage refuses."""
        ...

    def load(self, step: int) -> tuple[Tree, StateInfo]:
        """Return the state after `step`; raises `CheckpointError` or `CheckpointDamaged`."""
        ...


@dataclass(frozen=True, slots=True)
class SaveHooks:
    """What a drill does around a durable checkpoint.

    `room` returns the bytes that storage has left for the checkpoint of a step (None: as many as
    there are); `after` harms a checkpoint in its folder.
    """

    room: Callable[[int], int | None]
    after: Callable[[int, str], None]


NO_HOOKS = SaveHooks(lambda step: None, lambda step, folder: None)


class _Lane:
    """A thread that does one job after the other."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self.is_busy = False

    def put(self, job: Callable[[], None]) -> None:
        self._jobs.put(job)

    def drain(self) -> None:
        self._jobs.join()

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            finally:
                self._jobs.task_done()
        self._jobs.task_done()


class CheckpointWriter:
    """One rank's writer. `send` takes the records that say what became of each checkpoint.

    It writes share `rank` of `of`; the first rank speaks for all, and removes what is too old.
    """

    def __init__(
        self,
        store: CheckpointStore,
        states: StateStore,
        channel: Channel,
        send: Callable[[Record], None],
        *,
        attempt: int,
        keep: int,
        rank: int = 0,
        of: int = 1,
        hooks: SaveHooks = NO_HOOKS,
    ) -> None:
        self._store = store
        self.states = states
        self._channel = channel
        self._send = send
        self._attempt = attempt
        self._keep = keep
        self._rank = rank
        self._of = of
        self._hooks = hooks
        self._held: tuple[int, ...] | None = None
        self._refused = 0
        self.passed_over = 0
        if rank == 0:
            self._sweep()
        self._durable, self._copies = _Lane("checkpoint-writer"), _Lane("checkpoint-copies")

    @property
    def is_saving(self) -> bool:
        """Whether a durable checkpoint is still being written."""
        return self._durable.is_busy

    def save(self, checkpoint: MemoryCheckpoint, extra: Mapping[str, Any]) -> None:
        """Write the checkpoint to storage soon."""
        self._start(self._durable, [checkpoint], lambda: self._save(checkpoint, extra))

    def save_now(self, checkpoint: MemoryCheckpoint, extra: Mapping[str, Any]) -> None:
        """Write the checkpoint to storage and return when it is there, or was refused."""
        self.drain()
        self._save(checkpoint, extra)

    def hold(self, checkpoints: Sequence[MemoryCheckpoint], keep: int) -> None:
        """Give the watchdog copies that outlive this process, soon; it has room for `keep`."""
        self._start(self._copies, checkpoints, lambda: self._hold(checkpoints, keep))

    def lost(self, steps: Sequence[int], keep: int) -> tuple[int, ...]:
        """Return those of the newest `keep` of `steps` that the watchdog has no copy of any more.

        None before it has said what it has.
        """
        if self._held is None:
            return ()
        return tuple(step for step in sorted(steps)[-keep:] if step not in self._held)

    def begin_attempt(self, attempt: int, hooks: SaveHooks) -> None:
        """Go on in a new attempt."""
        self._attempt, self._hooks = attempt, hooks

    def drain(self) -> None:
        """Return when everything accepted so far is written."""
        self._durable.drain()
        self._copies.drain()

    def close(self) -> None:
        """Finish what was accepted and end the threads."""
        self._durable.close()
        self._copies.close()

    def forget_after(self, step: int) -> None:
        """Have the copies after `step` let go of, soon: a rollback has superseded them."""

        def forget() -> None:
            try:
                self._channel.drop_held_after(step)
            except ChannelDown as error:
                _log.info("superseded copies are not dropped: %s", error)

        self._held = None
        self._copies.put(forget)

    def settle_trust(self) -> None:
        """Bring the manifests up to date with the watchdog's judgement; at an attempt's end."""
        self._retire(self._keep)

    def _start(
        self, lane: _Lane, checkpoints: Sequence[MemoryCheckpoint], job: Callable[[], None]
    ) -> None:
        if lane.is_busy:
            self.passed_over += 1
            newest = max(checkpoint.info.step for checkpoint in checkpoints)
            where = "storage" if lane is self._durable else "outside"
            _log.info("step %d goes not to %s: an earlier one is on its way", newest, where)
            return
        lane.is_busy = True
        for checkpoint in checkpoints:
            checkpoint.users += 1

        def run() -> None:
            try:
                job()
            finally:
                for checkpoint in checkpoints:
                    checkpoint.users -= 1
                lane.is_busy = False

        lane.put(run)

    def _save(self, checkpoint: MemoryCheckpoint, extra: Mapping[str, Any]) -> None:
        info, started = checkpoint.info, time.monotonic()
        self._store.faults.room_bytes = self._hooks.room(info.step)
        try:
            saved = self.states.save(checkpoint.tree, info, extra, is_finite=checkpoint.is_finite())
        except CheckpointError as error:
            self._say_refused(info.step, error)
            self._store.faults.room_bytes = None
            if is_full(error):
                self._retire(keep=1)
            return
        if self._refused:
            _log.warning("storage takes checkpoints again, after %d it refused", self._refused)
            self._refused = 0
        self._retire(self._keep)
        if self._rank == 0:
            self._hooks.after(info.step, saved.path)
            self._send(
                CheckpointSaved(
                    t_s=time.time(),
                    attempt=self._attempt,
                    generation=info.generation,
                    step=info.step,
                    storage=Storage.DURABLE,
                    is_finite=saved.is_finite,
                    seconds=time.monotonic() - started,
                    size_bytes=saved.size_bytes,
                    path=saved.path,
                    held_steps=self._store.steps(),
                )
            )

    def _say_refused(self, step: int, error: CheckpointError) -> None:
        self._refused += 1
        if self._refused == 1:
            _log.error("training goes on without a new durable checkpoint: %s", error)
        if self._rank == 0:
            self._send(
                CheckpointFailed(
                    t_s=time.time(),
                    attempt=self._attempt,
                    step=step,
                    storage=Storage.DURABLE,
                    operation="save",
                    error=str(error),
                )
            )

    def _retire(self, keep: int) -> None:
        """Write what is trusted into the manifests, and remove what need not be kept."""
        if self._rank != 0:
            return
        try:
            trust = self._channel.trust()
        except ChannelDown as error:
            _log.info("no old checkpoint is removed while the watchdog does not answer: %s", error)
            return
        steps = self._store.steps()
        try:
            for step in to_retire(steps, trust, keep):
                self._store.remove(step)
            for step in steps:
                if step in trust:
                    self._store.set_trust(step, trust[step])
        except OSError as error:
            _log.warning("could not bring the checkpoints up to date: %s", error)

    def _sweep(self) -> None:
        try:
            self._store.sweep()
        except OSError as error:
            _log.warning("could not remove what an earlier writer left: %s", error)

    def _hold(self, checkpoints: Sequence[MemoryCheckpoint], keep: int) -> None:
        for checkpoint in checkpoints:
            checkpoint.wait()
            step, info = checkpoint.info.step, checkpoint.info
            payload = pack(checkpoint.tree, info, rank=self._rank, of=self._of, keep=keep)
            try:
                self._held = tuple(self._channel.hold(step, payload))
            except ChannelDown as error:
                _log.info("step %d has no copy outside: %s", step, error)
                return
