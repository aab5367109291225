"""How all ranks obey one order at the same step.

Orders reach the ranks at different moments. A rank that has heard of one rings: its flag becomes
the gradient of an extra one-element parameter, which travels in DDP's own all-reduce, so that all
ranks see the ring in the same step and no step pays for a collective of its own. Then the ranks
gather what each knows over a gloo group of their own, and obey the newest order.

On a GPU the flag is read `LAG_STEPS` steps later on every rank, from a copy that has long ended, so
that listening never makes the host wait for the device.

Runs in: worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

#: Chosen: by then the copy of a GPU step's flag has ended; on a CPU the flag is read at once.
LAG_STEPS = 2


class _Ring(torch.autograd.Function):
    """Identity on the model's output; on the way back it gives the control parameter the flag."""

    @staticmethod
    def forward(
        ctx: Any, output: torch.Tensor, control: torch.Tensor, flag: torch.Tensor
    ) -> torch.Tensor:
        ctx.flag = flag
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        return grads[0], ctx.flag.clone(), None


class RingingModel(nn.Module):
    """The job's model with the control parameter beside it; what DDP wraps."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.model = model
        self.control = nn.Parameter(torch.zeros(1, device=device))
        self.flag = torch.zeros(1, device=device)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the model's output, each differentiable tensor of it tied to the control."""
        return self._tie(self.model(*args, **kwargs))

    def _tie(self, output: Any) -> Any:
        if isinstance(output, torch.Tensor):
            if not output.requires_grad:
                return output
            return _Ring.apply(output, self.control, self.flag)  # type: ignore[no-untyped-call]
        if isinstance(output, Mapping):
            return {key: self._tie(value) for key, value in output.items()}
        if isinstance(output, (list, tuple)):
            return type(output)(self._tie(value) for value in output)
        return output


class Doorbell:
    """Rings and listens on one rank; with a single rank it hears itself."""

    def __init__(self, model: RingingModel) -> None:
        self._model = model
        self._device = model.control.device
        self._lag = LAG_STEPS if self._device.type == "cuda" else 0
        self._heard: deque[tuple[torch.Tensor, torch.cuda.Event]] = deque()
        self._is_ringing = False

    def ring(self, is_wanted: bool) -> None:
        """Set or clear this rank's flag for the coming backward pass; call before forward."""
        self._model.control.grad = None
        if is_wanted != self._is_ringing:
            self._is_ringing = is_wanted
            self._model.flag = torch.full((1,), float(is_wanted), device=self._device)

    def listen(self) -> bool:
        """Whether any rank rang (`LAG_STEPS` steps ago on a GPU); call after each backward."""
        grad = self._model.control.grad
        if grad is None:
            return False
        if self._lag == 0:
            return bool(grad.item() > 0)
        host = torch.empty(1, pin_memory=True).copy_(grad, non_blocking=True)
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

    def __init__(self) -> None:
        self._group = None
        if dist.is_initialized() and dist.get_world_size() > 1:
            self._group = dist.new_group(backend="gloo")

    def gather(self, item: Any) -> list[Any]:
        """Return every rank's item, in rank order; all ranks must call it at the same step."""
        if self._group is None:
            return [item]
        items: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(items, item, group=self._group)
        return items
