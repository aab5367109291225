"""The last few training states in this rank's own RAM: what an in-place rollback restores.

Host buffers are allocated once and reused. The copy runs beside the next forward and backward
pass, on a GPU from a side stream into pinned memory, on a CPU in a thread of its own; `fence` makes
the next optimizer step wait for it, because that overwrites what is being copied. What the forward
pass itself overwrites (the running statistics of a batch norm, say) is set aside first.

Runs in: worker.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch

from runner.state import (
    StateInfo,
    TrainState,
    Tree,
    is_finite,
    map_tensors,
    tensors_of,
    tree_bytes,
)

#: Chosen: below it a copy takes less time than handing it to a thread (2 cores: 1 MiB in 0.1 ms).
_THREAD_BYTES = 2**20


#: Host tensors, each with the live one that it becomes a copy of.
_Pairs = list[tuple[torch.Tensor, torch.Tensor]]


class _Copying(Protocol):
    """A copy on its way; a CUDA event is one."""

    def query(self) -> bool:
        """Whether it has ended; never waits."""
        ...

    def synchronize(self) -> None:
        """Return when it has ended."""
        ...


@dataclass(slots=True)
class MemoryCheckpoint:
    """One saved state. `users` counts who still reads the buffers (a writer thread, say)."""

    info: StateInfo
    tree: Tree
    finite: torch.Tensor
    copied: _Copying | None = None
    users: int = 0

    def is_ready(self) -> bool:
        """Whether the copy has ended; never waits."""
        return self.copied is None or self.copied.query()

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
        return tree_bytes(self.tree)


class _ThreadCopy:
    """A copy that a thread makes."""

    def __init__(self, future: Future[None]) -> None:
        self._future = future

    def query(self) -> bool:
        return self._future.done()

    def synchronize(self) -> None:
        self._future.result()


class MemoryCheckpoints:
    """A ring of the newest `keep` states, by step."""

    def __init__(self, keep: int, device: torch.device) -> None:
        self.keep = keep
        self._device = device
        self._by_step: dict[int, MemoryCheckpoint] = {}
        self._spare: list[MemoryCheckpoint] = []
        self._newest: MemoryCheckpoint | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="memory-checkpoint")

    def steps(self) -> tuple[int, ...]:
        """Return the steps whose state is held, oldest first."""
        return tuple(sorted(self._by_step))

    def get(self, step: int) -> MemoryCheckpoint | None:
        """Return the state after `step`, or None when it is not held."""
        return self._by_step.get(step)

    def save(self, state: TrainState, info: StateInfo) -> MemoryCheckpoint:
        """Begin to copy the state and return it; the oldest is dropped when the ring is full."""
        self.fence()
        self._make_room()
        live = state.tree()
        tree, pairs = _buffers(live, self._take_spare(live), is_cuda=self._stream is not None)
        overwritten = {tensor.data_ptr() for tensor in state.forward_state()}
        if self._stream is not None:
            checkpoint = self._copy_on_stream(tree, pairs, overwritten, info)
        elif tree_bytes(tree) < _THREAD_BYTES:
            checkpoint = MemoryCheckpoint(
                info, tree, _copy(pairs, torch.empty((), dtype=torch.bool))
            )
        else:
            checkpoint = self._copy_in_thread(tree, pairs, overwritten, info)
        self._by_step[info.step] = self._newest = checkpoint
        return checkpoint

    def fence(self) -> None:
        """Call before the state changes. On a GPU the device waits for the copy, not the host."""
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
        elif self._newest is not None:
            self._newest.wait()

    def drop_after(self, step: int) -> None:
        """Forget the states after `step`: a rollback has superseded them."""
        for later in [s for s in self._by_step if s > step]:
            self._spare.append(self._by_step.pop(later))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _copy_in_thread(
        self, tree: Tree, pairs: _Pairs, overwritten: set[int], info: StateInfo
    ) -> MemoryCheckpoint:
        at_once = [pair for pair in pairs if pair[1].data_ptr() in overwritten]
        later = [pair for pair in pairs if pair[1].data_ptr() not in overwritten]
        finite = torch.empty((), dtype=torch.bool)
        for host, live in at_once:
            host.copy_(live)
        held = [host for host, _ in at_once]

        def copy() -> None:
            _copy(later, finite, held)

        return MemoryCheckpoint(info, tree, finite, _ThreadCopy(self._thread.submit(copy)))

    def _copy_on_stream(
        self, tree: Tree, pairs: _Pairs, overwritten: set[int], info: StateInfo
    ) -> MemoryCheckpoint:
        assert self._stream is not None
        set_aside = [(h, t.clone() if t.data_ptr() in overwritten else t) for h, t in pairs]
        finite = is_finite([live for _, live in set_aside])
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for host, live in set_aside:
                host.copy_(live, non_blocking=True)
                if live.is_cuda:
                    live.record_stream(self._stream)
            if finite.is_cuda:
                finite.record_stream(self._stream)
            finite = finite.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record(self._stream)
        return MemoryCheckpoint(info, tree, finite, copied)

    def _make_room(self) -> None:
        while len(self._by_step) >= max(1, self.keep):
            self._spare.append(self._by_step.pop(min(self._by_step)))

    def _take_spare(self, live: Tree) -> Tree | None:
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


def _buffers(live: Tree, spare: Tree | None, *, is_cuda: bool) -> tuple[Tree, _Pairs]:
    """Return a tree of host tensors like `live`, and what has to be copied where."""
    pool = iter(tensors_of(spare)) if spare is not None else None
    pairs: _Pairs = []

    def host_for(tensor: torch.Tensor) -> torch.Tensor:
        if pool is not None:
            host = next(pool)
        else:
            pinned = is_cuda and tensor.device.type == "cuda"
            host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        pairs.append((host, tensor.detach()))
        return host

    return map_tensors(host_for, live), pairs


def _copy(
    pairs: _Pairs, finite: torch.Tensor, held: list[torch.Tensor] | None = None
) -> torch.Tensor:
    """Copy on the host, and say in `finite` whether all of it, with `held`, is finite."""
    for host, live in pairs:
        host.copy_(live)
    return finite.copy_(is_finite([host for host, _ in pairs] + (held or [])))
