"""How all ranks obey one order at the same step.

Orders reach the ranks at different moments. A rank that has heard of one rings: its flag becomes
the gradient of an extra one-element parameter, tied to the loss, which travels in DDP's own
all-reduce, so that all ranks see the ring in the same step and no step pays for a collective. Then
the ranks gather what each knows over a gloo group of their own, and obey the newest order.

On a GPU the flag is read `LAG_STEPS` steps later on every rank, from a copy that has long ended, so
that listening never makes the host wait for the device.

Runs in: worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from runner.sharing import share
from runner.state import StateInfo, Tree

#: Chosen: by then the copy of a GPU step's flag has ended; on a CPU the flag is read at once.
LAG_STEPS = 2


class RingingModel(nn.Module):
    """The job's model with the control parameter beside it; what DDP wraps."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.control = nn.Parameter(torch.zeros((), device=device))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the model's output; the control parameter joins at the loss."""
        return self.model(*args, **kwargs)


class Doorbell:
    """Rings and listens on one rank; with a single rank it hears itself and costs nothing."""

    def __init__(self, model: RingingModel, world_size: int) -> None:
        self._control = model.control
        self._is_alone = world_size == 1
        self._lag = LAG_STEPS if self._control.is_cuda else 0
        self._flags = {is_on: torch.full_like(model.control, float(is_on)) for is_on in (0, 1)}
        self._heard: deque[tuple[torch.Tensor, torch.cuda.Event]] = deque()
        self._is_ringing = False

    def ring(self, is_wanted: bool) -> None:
        """Set or clear this rank's ring for the coming backward pass; call before it."""
        self._is_ringing = is_wanted
        self._control.grad = None

    def tie(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss with the control parameter in its graph; its value is unchanged.

        The parameter is 0 and its gradient is the flag. Call it last, on what `backward` gets: a
        loss that is NaN, or a NaN on its way back, must not reach the control.
        """
        if self._is_alone:
            return loss
        return loss + self._control * self._flags[self._is_ringing]

    def listen(self) -> bool:
        """Whether any rank rang (`LAG_STEPS` steps ago on a GPU); call after each backward."""
        if self._is_alone:
            return self._is_ringing
        grad = self._control.grad
        assert grad is not None, "backward went over a loss that was tied"
        if self._lag == 0:
            return bool(grad.item() > 0)
        host = torch.empty((), pin_memory=True).copy_(grad, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        self._heard.append((host, copied))
        if len(self._heard) <= self._lag:
            return False
        host, copied = self._heard.popleft()
        copied.synchronize()
        return bool(host.item() > 0)

    def reset(self) -> None:
        """Forget the rings on their way: they were for an order that has been obeyed."""
        self._heard.clear()


class Council:
    """Gathers small Python objects from all ranks, over a gloo group of its own."""

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        if group is None and dist.is_initialized() and dist.get_world_size() > 1:
            self._group = dist.new_group(backend="gloo")

    def gather(self, item: Any) -> list[Any]:
        """Return every rank's item, in rank order; all ranks must call it at the same step."""
        if self._group is None:
            return [item]
        items: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(items, item, group=self._group)
        return items

    def largest(self, values: Sequence[int]) -> list[int]:
        """Return the largest of each value over the ranks; all must call it at the same step."""
        said = torch.tensor(values)
        if self._group is not None:
            dist.all_reduce(said, op=dist.ReduceOp.MAX, group=self._group)
        return [int(value) for value in said]

    def share(self, mine: tuple[Tree, StateInfo] | None) -> tuple[Tree, StateInfo] | None:
        """Return the state that the first rank with one holds; None if no rank has any."""
        holders = self.gather(mine is not None)
        if self._group is None or all(holders) or not any(holders):
            return mine if all(holders) else None
        return share(mine, holders.index(True), self._group)
