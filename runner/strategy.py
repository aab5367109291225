"""How the ranks share the work of a model: each has all of it (ddp), or a part (fsdp).

With `ddp` every rank holds the whole state, and the doorbell rides on the gradients. With `fsdp`
parameters, gradients and optimizer state are shared out, a rank holds and saves its own part, and
the bell is asked over a side group.

Runs in: worker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from runner.agreement import Council, Doorbell, RingingModel
from runner.bells import Bell, PolledBell
from runner.checkpoint_writer import StateStore
from runner.checkpoints import CheckpointStore
from runner.device import Placement
from runner.sharded_checkpoints import ShardedCheckpoints
from runner.shards import ShareMap
from runner.vault import Vault
from watchdog.errors import BadInput

#: Chosen: a gather of fewer parameters costs more in calls than it saves in memory.
_LEAST_UNIT_PARAMETERS = 1_000_000


class Strategy(Protocol):
    """One way of sharing the work. `is_shared_out` says whether a rank holds a part only."""

    is_shared_out: bool

    def shard(self, model: nn.Module) -> bool:
        """Share the parameters out, where that is done; before the optimizer is built."""
        ...

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return what the training step calls."""
        ...

    def unwrap(self) -> None:
        """Take off the model what `wrap` hung on it, so that another attempt can wrap it anew."""
        ...

    def bell(self, vault: Vault) -> Bell:
        """Return the doorbell; after `wrap`."""
        ...

    def states(
        self, store: CheckpointStore, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> StateStore | None:
        """Return where parts are written to; None: rank 0 writes the whole."""
        ...

    def begin_step(self) -> None:
        """Call before the first forward pass of a step."""
        ...

    def begin_part(self, *, is_last: bool) -> None:
        """Call before the forward pass of each micro-batch; the last one averages gradients.

        The ranks may have different numbers of micro-batches.
        """
        ...

    def validating(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which ranks may run the model as often as each likes."""
        ...


def choose_strategy(
    name: str,
    placement: Placement,
    council: Council,
    writers: dist.ProcessGroup | None = None,
) -> Strategy:
    """Return the strategy of a job; a single rank has nothing to share.

    `writers` is a gloo group for the threads that write checkpoints; None makes one.
    """
    if name == "fsdp" and placement.world_size > 1:
        return SharedOut(placement, council, writers)
    return Replicated(placement)


class Replicated:
    """DDP, or a single rank."""

    is_shared_out = False

    def __init__(self, placement: Placement) -> None:
        self._placement = placement
        self._ddp: DistributedDataParallel | None = None

    def shard(self, model: nn.Module) -> bool:
        """Do nothing: every rank holds all of it."""
        return False

    def wrap(self, model: nn.Module) -> nn.Module:
        """Put the doorbell beside the model, and DDP around both."""
        place = self._placement
        self._ringing = RingingModel(model, place.device)
        if place.world_size == 1:
            return self._ringing
        ids = [place.device.index or 0] if place.device.type == "cuda" else None
        self._ddp = DistributedDataParallel(
            self._ringing, device_ids=ids, gradient_as_bucket_view=True
        )
        return self._ddp

    def unwrap(self) -> None:
        """Take the hooks of a DDP that is kept for a while off the parameters.

        It may be waiting for the gradients of a pass that broke, and would take those of the next.
        """
        if self._ddp is not None:
            self._ddp._remove_autograd_hooks()  # type: ignore[no-untyped-call]

    def bell(self, vault: Vault) -> Bell:
        """Return the bell that rides on the gradients."""
        return Doorbell(self._ringing, self._placement.world_size)

    def states(
        self, store: CheckpointStore, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> StateStore | None:
        """Return None: rank 0 writes the whole."""
        return None

    def begin_step(self) -> None:
        """Do nothing: DDP has the buffers of rank 0 on all ranks."""

    def begin_part(self, *, is_last: bool) -> None:
        """Keep the gradients of all but the last micro-batch to this rank.

        DDP looks at its switch in the forward pass. Setting an attribute of a module is not free.
        """
        if self._ddp is not None and self._ddp.require_backward_grad_sync is not is_last:
            self._ddp.require_backward_grad_sync = is_last

    def validating(self) -> contextlib.AbstractContextManager[object]:
        """Return a context that does nothing."""
        return contextlib.nullcontext()


class SharedOut:
    """FSDP2 over all ranks."""

    is_shared_out = True

    def __init__(
        self, placement: Placement, council: Council, writers: dist.ProcessGroup | None
    ) -> None:
        self._placement = placement
        self._council = council
        self._writers = writers or dist.new_group(backend="gloo")
        self._units: list[FSDPModule] = []

    def shard(self, model: nn.Module) -> bool:
        """Share the parameters out, in units that are gathered one at a time."""
        for unit in (*units_of(model, _LEAST_UNIT_PARAMETERS), model):
            fully_shard(unit)
        self._units = [m for m in model.modules() if isinstance(m, FSDPModule)]
        self._buffers = [b for b in model.buffers() if b.numel() > 0]
        return True

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model itself.

        Raises:
            BadInput: its parameters are not shared out; its optimizer would hold others.
        """
        if not isinstance(model, FSDPModule):
            raise BadInput(
                "train.strategy=fsdp: call session.shard(model) before the optimizer is built, "
                "because sharing out replaces the model's parameters"
            )
        self._model = model
        return model

    def unwrap(self) -> None:
        """Do nothing: a model that is shared out is built anew for each attempt."""

    def bell(self, vault: Vault) -> Bell:
        """Return the bell that is asked over a side group."""
        return PolledBell(self._council.largest, vault.found, vault.hear)

    def states(
        self, store: CheckpointStore, model: nn.Module, optimizer: torch.optim.Optimizer
    ) -> StateStore | None:
        """Return the store that each rank writes its part to."""
        return ShardedCheckpoints(store, ShareMap(model, optimizer), self._writers)

    def begin_step(self) -> None:
        """Give all ranks the buffers of rank 0, as DDP does: they are not shared out."""
        for buffer in self._buffers:
            dist.broadcast(buffer, src=0)

    def begin_part(self, *, is_last: bool) -> None:
        """Keep the gradients of all but the last micro-batch to this rank, whole."""
        self._model.set_requires_gradient_sync(is_last)

    @contextlib.contextmanager
    def validating(self) -> Iterator[None]:
        """Gather all parameters once, for the ranks run the model unequally often."""
        self._model.set_reshard_after_forward(False)
        for unit in self._units:
            unit.unshard()
        try:
            yield
        finally:
            for unit in self._units:
                unit.reshard()
            self._model.set_reshard_after_forward(True)
            self._model.set_reshard_after_forward(False, recurse=False)


def units_of(model: nn.Module, least_parameters: int) -> list[nn.Module]:
    """Return the submodules that are gathered on their own, inner ones first.

    A unit has at least so many parameters that no unit within it has. Nothing is split that may
    read the parameters of its children without calling them (torch's own composite layers), that
    is never called itself (lists), or that shares a parameter with a module elsewhere.
    """
    if len(list(model.parameters())) != len(list(model.named_parameters(remove_duplicate=False))):
        return []
    units: list[nn.Module] = []

    def visit(module: nn.Module) -> int:
        """Return the parameters under `module` that no unit has taken."""
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if _is_opaque(module):
            free = sum(p.numel() for p in module.parameters())
        else:
            free = own + sum(visit(child) for child in module.children())
        if free < least_parameters or isinstance(module, nn.ModuleList | nn.ModuleDict):
            return free
        units.append(module)
        return 0

    for child in model.children():
        visit(child)
    return units


def _is_opaque(module: nn.Module) -> bool:
    is_torch = type(module).__module__.startswith("torch.nn")
    return is_torch and not isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
