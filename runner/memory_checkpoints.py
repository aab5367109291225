"""The last few training states in this rank's own RAM: what an in-place rollback restores.

Host buffers are allocated once and reused. On a GPU they are pinned and filled on a side stream
while the next forward pass runs; `fence` makes the next optimizer step wait for the copy, because
it overwrites what is being copied.

Runs in: worker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from runner.state import StateInfo, TrainState, Tree, is_finite, map_tensors, tensors_of


@dataclass(slots=True)
class MemoryCheckpoint:
    """One saved state. `users` counts who still reads the buffers (a writer thread, say)."""

    info: StateInfo
    tree: Tree
    finite: torch.Tensor
    copied: torch.cuda.Event | None = None
    users: int = 0

    def is_ready(self) -> bool:
        """Whether the copy has ended; never waits."""
        return self.copied is None or bool(self.copied.query())  # type: ignore[no-untyped-call]

    def wait(self) -> None:
        """Return when the copy has ended."""
        if self.copied is not None:
            self.copied.synchronize()

    def is_finite(self) -> bool:
        """Whether weights and optimizer state are finite; waits for the copy."""
        self.wait()
        return bool(self.finite)

    def size_bytes(self) -> int:
        """Return the bytes of all tensors."""
        return sum(t.numel() * t.element_size() for t in tensors_of(self.tree))


class MemoryCheckpoints:
    """A ring of the newest `keep` states, by step."""

    def __init__(self, keep: int, device: torch.device) -> None:
        self._keep = keep
        self._device = device
        self._by_step: dict[int, MemoryCheckpoint] = {}
        self._spare: list[MemoryCheckpoint] = []
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def steps(self) -> tuple[int, ...]:
        """Return the steps whose state is held, oldest first."""
        return tuple(sorted(self._by_step))

    def get(self, step: int) -> MemoryCheckpoint | None:
        """Return the state after `step`, or None when it is not held."""
        return self._by_step.get(step)

    def save(self, state: TrainState, info: StateInfo) -> MemoryCheckpoint:
        """Copy the state and return it; the oldest is dropped when the ring is full."""
        self._make_room()
        live = state.tree()
        buffers = self._take_buffers(live)
        if self._stream is None:
            tree, copied, finite = _copy(live, buffers, False), None, is_finite(live)
        else:
            finite = is_finite(live)
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(self._stream):
                tree = _copy(live, buffers, True)
                finite = finite.to("cpu", non_blocking=True)
                copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
                copied.record(self._stream)
        checkpoint = MemoryCheckpoint(info, tree, finite, copied)
        self._by_step[info.step] = checkpoint
        return checkpoint

    def fence(self) -> None:
        """Make the device wait for a copy in flight before it changes the state; no host wait."""
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def drop_after(self, step: int) -> None:
        """Forget the states after `step`: a rollback has superseded them."""
        for later in [s for s in self._by_step if s > step]:
            self._spare.append(self._by_step.pop(later))

    def _make_room(self) -> None:
        while len(self._by_step) >= self._keep:
            self._spare.append(self._by_step.pop(min(self._by_step)))

    def _take_buffers(self, live: Tree) -> Tree | None:
        for spare in self._spare:
            if spare.users == 0 and spare.is_ready() and _same_shape(spare.tree, live):
                self._spare.remove(spare)
                return spare.tree
        self._spare = [s for s in self._spare if s.users > 0]
        return None


def _same_shape(a: Tree, b: Tree) -> bool:
    ours, theirs = list(tensors_of(a)), list(tensors_of(b))
    return len(ours) == len(theirs) and all(
        x.shape == y.shape and x.dtype == y.dtype for x, y in zip(ours, theirs, strict=True)
    )


def _copy(live: Tree, buffers: Tree | None, is_cuda: bool) -> Tree:
    pool = iter(tensors_of(buffers)) if buffers is not None else None

    def into_host(tensor: torch.Tensor) -> torch.Tensor:
        if pool is not None:
            host = next(pool)
        else:
            pinned = is_cuda and tensor.device.type == "cuda"
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        return host.copy_(tensor.detach(), non_blocking=True)

    copy: Callable[[torch.Tensor], Any] = into_host
    return map_tensors(copy, live)
