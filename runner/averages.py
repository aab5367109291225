"""An exponential moving average of the weights, kept beside them and used for validation.

Runs in: worker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from runner.shards import local


class WeightAverage:
    """The average of a model's parameters; where FSDP shares them out, of this rank's parts.

    It starts as the first weights. Early on the decay is lower, (1 + n) / (10 + n) after n steps,
    so that a short run is not averaged with what it began from. Source: Tan and Le, EfficientNet
    (2019), reference implementation; TensorFlow's ExponentialMovingAverage with `num_updates`.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._live = {name: local(p.detach()) for name, p in model.named_parameters()}
        self._decay = decay
        self._average = {name: tensor.clone() for name, tensor in self._live.items()}

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the averaged weights by the parameters' names (not copies)."""
        return dict(self._average)

    def update(self, step: int) -> None:
        """Take the weights after `step` in; no host sync."""
        decay = min(self._decay, (1 + step) / (10 + step))
        averages, live = list(self._average.values()), list(self._live.values())
        torch._foreach_lerp_(averages, live, 1.0 - decay)

    def load(self, weights: Mapping[str, torch.Tensor] | None) -> None:
        """Put saved averages in place; a checkpoint without them starts from its weights."""
        for name, tensor in self._average.items():
            tensor.copy_(self._live[name] if weights is None else weights[name])

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Have the model compute with the averages, bit for bit back to its own weights after."""
        own = {name: tensor.clone() for name, tensor in self._live.items()}
        try:
            for name, tensor in self._live.items():
                tensor.copy_(self._average[name])
            yield
        finally:
            for name, tensor in self._live.items():
                tensor.copy_(own[name])
