"""The best constant prediction: a model of the same output shapes that looks at no input.

Runs in: preflight's own process.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from runner.preflight.bench import Bench, Unavailable
from runner.state import map_tensors, seed_step, tensors_of

#: Chosen: with Adam at 0.1, enough to move a logit by ten.
_STEPS = 200
_RATE = 0.1


class ConstantModel(nn.Module):
    """Answers the same at every pixel of every sample: one number for each channel."""

    def __init__(self, example: Any) -> None:
        super().__init__()
        self._example = map_tensors(lambda t: t.detach(), example)
        shapes = [_constant_shape(tensor) for tensor in tensors_of(example)]
        self.values = nn.ParameterList(nn.Parameter(torch.zeros(shape)) for shape in shapes)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the constants in the form of the output, for as many samples as are given."""
        samples = len(next(tensors_of([list(args), dict(kwargs)])))
        values = iter(self.values)
        return map_tensors(
            lambda t: next(values).expand(samples, *t.shape[1:]).to(t.dtype), self._example
        )


def _constant_shape(tensor: torch.Tensor) -> tuple[int, ...]:
    """Return (1, C, 1, ...) for an output of shape (B, C, ...), (1,) for (B,)."""
    if tensor.ndim < 2:
        return (1,) * max(1, tensor.ndim)
    return (1, tensor.shape[1], *(1,) * (tensor.ndim - 2))


def best_constant_losses(
    bench: Bench, batches: Sequence[Mapping[str, Any]], limit_s: float
) -> list[float]:
    """Return the training loss of each batch under the best constant for all of them.

    Raises:
        Unavailable: the loss is not a function of one output.
    """
    calls = bench.first_forward.calls
    if len(calls) != 1 or not list(tensors_of(calls[0].output)):
        raise Unavailable("the loss is not a function of one output of the model")
    model = ConstantModel(calls[0].output).to(bench.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    deadline = time.perf_counter() + limit_s
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS) + 1e-3
        optimizer.zero_grad(set_to_none=True)
        seed_step(bench.spec.train.seed, 1, 0)
        try:
            loss = bench.task.training_step(model, batches[step % len(batches)])
            loss.backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise Unavailable(f"the loss cannot be computed of a constant: {error}") from error
        optimizer.step()
        if time.perf_counter() > deadline:
            break
    with torch.no_grad():
        return [float(bench.task.training_step(model, batch)) for batch in batches]
