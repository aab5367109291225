"""Faults on purpose in a worker: `DRILL="nan@step=40,rank=1,count=5;kill@step=80"`.

A fault is data (`drill_grammar`); an episode of it starts when its step or its moment comes, and
lasts `count` steps or until a recovery. `times` says how many episodes there may be in the whole
run: episodes are claimed from the watchdog before they start, so that one fires once even when it
kills the process that fired it. Broken samples are no episodes: like real ones they stay broken,
and are met again by whoever replays them.

Runs in: worker.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from runner.drill_grammar import During, Fault
from runner.sampler import SampleOrder
from runner.shards import local

if TYPE_CHECKING:
    from runner.batches import RankBatch

_log = logging.getLogger(__name__)

#: Chosen: a hung rank looks up this often (s), so that an exception thrown into it ends the wait.
_HANG_LOOK_S = 0.05
#: Chosen: a checkpoint begins to be written before the disk is full, as it does in earnest.
_ROOM_BYTES = 1024


class DrillError(RuntimeError):
    """The exception that the `exception` drill raises in a worker."""


class _PoisonGradient(torch.autograd.Function):
    """Identity forward; the gradient becomes NaN on its way back."""

    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0] * float("nan")


class DrillRunner:
    """Carries the faults out on one rank. `claim(key)` returns how often `key` was claimed before.

    It must be told of each step (`begin_step`), of each recovery (`reset`) and of the moments that
    a fault may strike in (`moment`). `end_watchdog` kills the watchdog; `sleep` takes seconds.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        rank: int,
        world_size: int,
        claim: Callable[[str], int],
        *,
        end_watchdog: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._faults = [
            (f"{number}:{fault.name}/rank{rank}", fault)
            for number, fault in enumerate(faults)
            if fault.hits(rank, world_size)
        ]
        self._rank = rank
        self._claim = claim
        self._end_watchdog = end_watchdog
        self._sleep = sleep
        self._until: dict[str, int] = {}
        self._step = 0
        self._spent: set[str] = set()
        self._broken: frozenset[int] = frozenset()
        self._stepped: float | None = None

    def begin_step(self, step: int) -> None:
        """Start the episodes that are due; what kills, raises or hangs strikes here.

        Raises:
            DrillError: an `exception` fault is due.
        """
        self._step = step
        for key, fault in self._faults:
            if fault.during is None and step == fault.step:
                self._start(key, fault)

    def moment(self, during: During, step: int) -> None:
        """Start the episodes that wait for this moment.

        Raises:
            DrillError: an `exception` fault is due.
        """
        self._step = step
        for key, fault in self._faults:
            if fault.during is during and step >= fault.step:
                self._start(key, fault)

    def _start(self, key: str, fault: Fault) -> None:
        if fault.name in _NOT_EPISODES or key in self._until:
            return
        if self._may_strike(key, fault):
            self._until[key] = self._step + fault.count - 1
            _log.warning("drill: %s on rank %d at step %d", fault.name, self._rank, self._step)
            self._strike(fault)

    def _may_strike(self, key: str, fault: Fault) -> bool:
        """Claim an episode; one that was refused is not asked for again."""
        if key not in self._spent and self._claim(key) < fault.times:
            return True
        self._spent.add(key)
        return False

    def _strike(self, fault: Fault) -> None:
        match fault.name:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill_node":
                _kill_node()
            case "kill_watchdog":
                self._end_watchdog()
            case "exception":
                raise DrillError(f"drill: exception on rank {self._rank} at step {self._step}")
            case "hang":
                while True:
                    self._sleep(_HANG_LOOK_S)
            case _:
                pass  # it lasts: the step, the batch or the checkpoint asks for it

    def _active(self, name: str) -> list[Fault]:
        if not self._until:
            return []
        return [
            fault
            for key, fault in self._faults
            if fault.name == name and fault.step <= self._step <= self._until.get(key, -1)
        ]

    # -- data and weights ------------------------------------------------------------------

    def break_samples(self, size: int, batch_size: int, seed: int, world_size: int) -> None:
        """Choose the samples of `nan_batch`: a function of the order alone, so they stay broken."""
        order = (size, batch_size, seed, world_size)
        broken = [_broken(f, *order) for _, f in self._faults if f.name == "nan_batch"]
        self._broken = frozenset().union(*broken)

    def distort_batch(self, batch: RankBatch) -> RankBatch:
        """Return the batch as its broken samples leave it: NaN in all its numbers."""
        if self._broken.isdisjoint(batch.ordinals):
            return batch
        rows = [row for row, o in enumerate(batch.ordinals) if o in self._broken]
        parts, first = [], 0
        for data, count in batch.parts:
            mine = [row - first for row in rows if first <= row < first + count]
            parts.append((_with_nan(data, mine) if mine else data, count))
            first += count
        return replace(batch, parts=tuple(parts))

    def distort_weights(self, model: nn.Module) -> None:
        """Make one weight NaN when `nan_weights` is due."""
        for key, fault in self._faults:
            if fault.name == "nan_weights" and self._until.get(key) == self._step:
                with torch.no_grad():
                    local(next(model.parameters())).view(-1)[:1] = float("nan")

    # -- the step --------------------------------------------------------------------------

    def drag(self) -> None:
        """Take `factor` times as long as this rank took for its last step, under `slow`."""
        if not self._faults:
            return
        now = time.perf_counter()
        own_s = 0.0 if self._stepped is None else now - self._stepped
        for fault in self._active("slow"):
            self._sleep((fault.factor - 1) * own_s)
        self._stepped = time.perf_counter()

    def check_memory(self, samples: int, share: int) -> None:
        """Fail like an allocator when a micro-batch is larger than `oom` leaves room for.

        Args:
            samples: samples of this micro-batch.
            share: samples of this rank in the step.

        Raises:
            torch.OutOfMemoryError: too many for the memory that is left.
        """
        for key, fault in self._faults:
            is_due = fault.name == "oom" and self._step >= fault.step
            limit = max(1, int(fault.factor * share))
            if is_due and samples > limit and self._may_strike(key, fault):
                _log.warning("drill: oom on rank %d at step %d", self._rank, self._step)
                raise torch.OutOfMemoryError(
                    f"drill: out of memory on rank {self._rank} at step {self._step}: room for "
                    f"{limit} samples, tried to hold {samples}"
                )

    def distort_loss(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss as the active faults leave it, for the backward pass."""
        loss = self.distort_report(loss)
        if self._active("nan"):
            loss = _PoisonGradient.apply(loss)  # type: ignore[no-untyped-call]
        return loss

    def distort_report(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss as it is reported under the active faults."""
        for fault in self._active("spike"):
            loss = loss * fault.factor
        return loss

    def lr_factor(self) -> float:
        """Return the product of the active `lr` faults."""
        factor = 1.0
        for fault in self._active("lr"):
            factor *= fault.factor
        return factor

    # -- checkpoints -----------------------------------------------------------------------

    def room_bytes(self, step: int) -> int | None:
        """Return the bytes left on the disk, which the checkpoint of `step` fills; None: plenty."""
        return _ROOM_BYTES if self._active("disk_full") else None

    def after_save(self, step: int, folder: str) -> None:
        """Flip one bit in the first durable checkpoint at or after the step of the fault."""
        for key, fault in self._faults:
            is_due = fault.name == "corrupt_checkpoint" and step >= fault.step
            if is_due and self._may_strike(key, fault):
                _flip_bit(Path(folder))

    def reset(self) -> None:
        """End every episode: a recovery heals what the drill broke."""
        self._until.clear()


#: Faults that are conditions rather than episodes; they claim for themselves, or not at all.
_NOT_EPISODES = frozenset({"oom", "nan_batch", "corrupt_checkpoint", "kill_driver"})


def _broken(fault: Fault, size: int, batch_size: int, seed: int, world_size: int) -> frozenset[int]:
    """Return the ordinals of a `nan_batch`: the first sample of each of its steps, or the named."""
    start = (fault.step - 1) * batch_size
    if fault.sample is not None:
        if fault.sample >= size:
            _log.error("drill: there is no sample=%d among %d; no fault", fault.sample, size)
            return frozenset()
        first = {start // size * size + fault.sample}
    else:
        order = SampleOrder(size=size, batch_size=batch_size, seed=seed, position=start)
        rank = fault.rank or 0
        first = {order.next_batch().share(rank, world_size)[0] for _ in range(fault.count)}
    return frozenset(ordinal + epoch * size for ordinal in first for epoch in range(fault.times))


def _with_nan(data: Mapping[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    out = dict(data)
    is_broken = False
    for name, value in data.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() > 0:
            value = value.clone()
            value[list(rows)] = float("nan")
            out[name], is_broken = value, True
    if not is_broken:
        _log.error("drill: nan_batch found no floating-point input in %s; no fault", sorted(data))
    return out


def _flip_bit(folder: Path) -> None:
    """Flip the lowest bit in the middle of the largest file, as a failing disk would."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        _log.error("drill: no local file in %s to corrupt; no fault", folder)
        return
    target = max(files, key=lambda path: path.stat().st_size)
    with target.open("r+b") as file:
        file.seek(target.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    _log.warning("drill: flipped a bit in %s", target)


def _kill_node() -> None:
    """Kill everything Ray runs on this node: its raylet, that one's children, and this process."""
    raylet = os.getppid()
    name = Path(f"/proc/{raylet}/cmdline").read_bytes()
    if b"raylet" not in name or b"\0--head\0" in name:
        _log.error("drill: this worker has no node of its own to kill (parent %r)", name[:80])
        return
    for pid in [*_children(raylet), raylet]:
        if pid != os.getpid():
            os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found]
