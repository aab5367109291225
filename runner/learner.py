"""What learns: a model with its optimizer and gradient scaler, on one rank's device.

It belongs to the process, not to a process group: a new group is put around the same learner.

Runs in: worker.
"""

from __future__ import annotations

import contextlib

import torch
from torch import nn

from runner.averages import WeightAverage
from runner.device import Placement
from runner.reflex import Reflex, StepOutcome
from runner.shards import whole
from runner.spec import TrainConfig
from runner.state import TrainState, Tree
from runner.validation_history import ValidationHistory


class Learner:
    """Applies guarded optimizer steps, and gives its state away or takes one in."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        train: TrainConfig,
        placement: Placement,
        validations: ValidationHistory | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self._scaler = (
            torch.amp.GradScaler(placement.device.type) if placement.uses_scaler else None
        )
        self.average = None if train.ema_decay is None else WeightAverage(model, train.ema_decay)
        self.state = TrainState(model, optimizer, self._scaler, validations, self.average)
        self._peak_ratio = [group["lr"] / train.lr for group in optimizer.param_groups]
        self._reflex = Reflex(
            optimizer, train.clip_norm, self._scaler, skip_norm=train.skip_grad_norm
        )

    def set_lr(self, lr: float) -> None:
        """Set the rate; each parameter group keeps its ratio to the job's peak rate."""
        for group, ratio in zip(self.optimizer.param_groups, self._peak_ratio, strict=True):
            group["lr"] = lr * ratio

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        """Return the loss as it goes into the backward pass: scaled up for fp16, else as it is."""
        return loss if self._scaler is None else self._scaler.scale(loss)

    def step(self, number: int) -> StepOutcome:
        """Apply optimizer step `number` if the gradients are finite."""
        outcome = self._reflex.step()
        if self.average is not None:
            self.average.update(number)
        return outcome

    def with_average(self) -> contextlib.AbstractContextManager[object]:
        """Return the context in which the model computes with its averaged weights, if it has."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    def load(self, tree: Tree) -> None:
        """Put a saved state in place."""
        self.state.load(tree)

    def forget_momentum(self) -> None:
        """Have the optimizer forget what it has gathered."""
        self.optimizer.state.clear()

    def weights_norm(self) -> float:
        """Return the norm of all parameters, to the last bit: what is equal on all ranks.

        Buffers are not: each rank gathers its own running statistics of a batch norm.
        """
        parameters = [p.detach() for p in self.model.parameters()]
        return float(whole(torch.nn.utils.get_total_norm(parameters)))
