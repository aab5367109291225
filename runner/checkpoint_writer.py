"""Writes checkpoints behind the training's back: durable ones to storage, copies to the watchdog.

One thread, one job at a time. A checkpoint that is due while the last is still being written is
passed over and counted, so a slow disk costs checkpoints, never steps.

Runs in: worker (rank 0).
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.channel import Channel, ChannelDown
from runner.checkpoints import CheckpointStore, to_retire
from runner.memory_checkpoints import MemoryCheckpoint
from runner.packing import pack
from watchdog.errors import CheckpointError
from watchdog.records import CheckpointFailed, CheckpointSaved, Record, Storage

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SaveHooks:
    """What a drill does around a durable checkpoint: refuse its step, or harm its folder."""

    before: Callable[[int], None]
    after: Callable[[int, str], None]


NO_HOOKS = SaveHooks(lambda step: None, lambda step, folder: None)


class CheckpointWriter:
    """Rank 0's writer. `send` takes the records that say what became of each checkpoint."""

    def __init__(
        self,
        store: CheckpointStore,
        channel: Channel,
        send: Callable[[Record], None],
        *,
        attempt: int,
        keep: int,
        hooks: SaveHooks = NO_HOOKS,
    ) -> None:
        self._store = store
        self._channel = channel
        self._send = send
        self._attempt = attempt
        self._keep = keep
        self._hooks = hooks
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._busy = {"durable": False, "hold": False}
        self.passed_over = 0
        self._thread = threading.Thread(target=self._run, name="checkpoint-writer", daemon=True)
        self._thread.start()

    def save(self, checkpoint: MemoryCheckpoint, extra: Mapping[str, Any]) -> None:
        """Write the checkpoint to storage soon."""
        self._start("durable", checkpoint, lambda: self._save(checkpoint, extra))

    def hold(self, checkpoint: MemoryCheckpoint, extra: Mapping[str, Any]) -> None:
        """Give the watchdog's side a copy that outlives this process soon."""
        self._start("hold", checkpoint, lambda: self._hold(checkpoint, extra))

    def begin_attempt(self, attempt: int, hooks: SaveHooks) -> None:
        """Go on in a new attempt."""
        self._attempt, self._hooks = attempt, hooks

    def drain(self) -> None:
        """Return when everything accepted so far is written."""
        self._jobs.join()

    def close(self) -> None:
        """Finish what was accepted and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _start(self, what: str, checkpoint: MemoryCheckpoint, job: Callable[[], None]) -> None:
        if self._busy[what]:
            self.passed_over += 1
            _log.info("the %s copy of step %d was passed over", what, checkpoint.info.step)
            return
        self._busy[what] = True
        checkpoint.users += 1

        def run() -> None:
            try:
                job()
            finally:
                checkpoint.users -= 1
                self._busy[what] = False

        self._jobs.put(run)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            finally:
                self._jobs.task_done()
        self._jobs.task_done()

    def _save(self, checkpoint: MemoryCheckpoint, extra: Mapping[str, Any]) -> None:
        info = checkpoint.info
        started = time.monotonic()
        finite = checkpoint.is_finite()
        try:
            self._hooks.before(info.step)
            saved = self._store.save(checkpoint.tree, info, extra)
            self._hooks.after(info.step, saved.path)
            self._retire()
        except (CheckpointError, OSError) as error:
            _log.error("%s", error)
            self._send(
                CheckpointFailed(
                    t_s=time.time(),
                    attempt=self._attempt,
                    step=info.step,
                    storage=Storage.DURABLE,
                    operation="save",
                    error=str(error),
                )
            )
            return
        self._send(
            CheckpointSaved(
                t_s=time.time(),
                attempt=self._attempt,
                generation=info.generation,
                step=info.step,
                storage=Storage.DURABLE,
                is_finite=finite,
                seconds=time.monotonic() - started,
                size_bytes=saved.size_bytes,
                path=saved.path,
                held_steps=self._store.steps(),
            )
        )

    def _retire(self) -> None:
        try:
            trust = self._channel.trust()
        except ChannelDown as error:
            _log.info("no old checkpoint is removed while the watchdog does not answer: %s", error)
            return
        steps = self._store.steps()
        for step in steps:
            if step in trust:
                self._store.set_trust(step, trust[step])
        for step in to_retire(steps, trust, self._keep):
            self._store.remove(step)

    def settle_trust(self) -> None:
        """Bring the manifests up to date with the watchdog's judgement; at an attempt's end."""
        try:
            self._retire()
        except OSError as error:
            _log.warning("could not update the trust of the checkpoints: %s", error)

    def _hold(self, checkpoint: MemoryCheckpoint, extra: Mapping[str, Any]) -> None:
        checkpoint.wait()
        try:
            self._channel.hold(checkpoint.info.step, pack(checkpoint.tree, checkpoint.info, extra))
        except ChannelDown as error:
            _log.info("step %d has no copy outside: %s", checkpoint.info.step, error)
